import { ArgumentError } from '../../errors.ts';
import type { JsonObject } from '../../files/strict-json.ts';
import type { Shrinking } from './shrinking.ts';

/** What a config says of the widths of FFNs: one number where all layers are alike, else one for each layer. */
export const ffnSizeOf = (widths: readonly number[]): number | number[] =>
  new Set(widths).size === 1 ? widths[0]! : [...widths];

/** The widths of a model's layers where they differ. */
export function ownWidths(config: JsonObject | undefined): readonly number[] | undefined {
  const size = config?.intermediate_size;
  return Array.isArray(size) && new Set(size).size > 1 ? (size as number[]) : undefined;
}

/**
 * Refuses a model whose layers have widths of their own, or are to get such.
 * @param into where it is to go, which knows one width for all layers
 * @throws ArgumentError that says what would work
 */
export function checkAlike(name: string, config: JsonObject | undefined, into: string, shrinking?: Shrinking): void {
  const folder = `or write a folder without a container, for Compressa`;
  if (shrinking?.spreads) {
    throw new ArgumentError(
      `${name}: channels that are removed by sensitivity leave each layer a width of its own, and ${into} has one for all: leave the spread over layers out (uniform), so that each loses "${shrinking.text}", ${folder}.`,
    );
  }
  const widths = ownWidths(config);
  if (!widths) return;
  const mean = Math.round(widths.reduce((sum, width) => sum + width, 0) / widths.length);
  const [least, most] = [Math.min(...widths), Math.max(...widths)];
  throw new ArgumentError(
    `${name}: its layers have ${least} to ${most} FFN channels (intermediate_size is a list), and ${into} has one number for all: shrink the original with layers that are alike (uniform), to ${mean} channels each for the same size, ${folder}.`,
  );
}
