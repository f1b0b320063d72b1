import { RecipeError } from '../../errors.ts';
import { quote } from '../../files/text.ts';
import { blocksOf, keptOf, type MaskPattern } from '../../kernels/mask-pattern.ts';
import { type AnyWeight, denseFormatOf } from '../stored-weight.ts';
import { knowsInputs, type Pruning } from './pruning.ts';

/**
 * How a tensor can be pruned; undefined where it is no matrix, or of a type that no kernel reads.
 * @param inWalk weights whose inputs a calibration shows
 * @throws RecipeError where there has to be a calibration; ArgumentError where nothing would be left
 */
export function prunableAs(
  name: string,
  weight: AnyWeight,
  prune: Pruning,
  inWalk: readonly string[],
  notices: string[],
): Pruning | undefined {
  if (weight.shape.length !== 2 || weight.shape.includes(0)) return undefined;
  if (weight.kind !== 'dense' || denseFormatOf(weight.info.type) === undefined) {
    const type =
      weight.kind === 'dense' ? weight.info.type : weight.kind === 'opaque' ? weight.type : weight.format.name;
    notices.push(`${quote(name)} is not pruned: it is ${type}. Prune the original model.`);
    return undefined;
  }
  checkLeft(name, weight.shape as [number, number], prune);
  if (!knowsInputs(prune) || inWalk.includes(name)) return prune;
  const { score, repair, layers } = prune;
  const needs =
    repair !== 'none'
      ? `The repair ${repair}`
      : score !== 'magnitude'
        ? `The score ${score}`
        : `The spread over layers (${layers})`;
  if (inWalk.length === 0) {
    throw new RecipeError(
      `${needs} needs a calibration text (--calibration, or the option "calibration"), to know the inputs of ${quote(name)}.`,
    );
  }
  notices.push(`${quote(name)} is pruned by magnitude: a calibration does not show its inputs.`);
  const { layers: _, rounds: __, ...uniform } = prune;
  return { ...uniform, score: 'magnitude', repair: 'none' };
}

/** What is left of all matrices together shows once they are counted. */
function checkLeft(name: string, [rows, k]: readonly [number, number], { pattern }: Pruning): void {
  if (pattern.kind === 'ranked' && pattern.scope !== 'model') keptBlocks(pattern, rows, k, `Tensor ${quote(name)}`);
}

/** How many blocks of a matrix stay, compared with those of its row of blocks or of all of it. @throws ArgumentError where none would */
export function keptBlocks(pattern: MaskPattern & { kind: 'ranked' }, rows: number, k: number, what: string): number {
  const blocks = blocksOf(pattern, rows, k);
  if (pattern.scope === 'row') return blocks.rows * keptOf(pattern.remove, blocks.k, what);
  return keptOf(pattern.remove, blocks.rows * blocks.k, what);
}
