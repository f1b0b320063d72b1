import type { Command } from 'commander';
import { ArgumentError } from '../errors.ts';
import { openPath } from '../files/node-files.ts';
import { refuseReplacing } from '../files/node-same-files.ts';
import { readStatistics } from '../passes/calibration/read-statistics.ts';
import { REPAIRS, SCORES } from '../passes/pruning/pruning.ts';
import { parseRecipe, type Recipe } from '../passes/recipe.ts';
import { type CalibrationOptions, readCalibration } from './calibration.ts';
import { adapterOption, gpuMemoryOption } from './gpu-options.ts';
import { interruptSignal } from './interrupt.ts';
import { outputKind } from './output-kind.ts';
import { type WriteModelOptions, writeModel } from './write-model.ts';

export interface PruneCommandOptions extends WriteModelOptions, Omit<CalibrationOptions, 'correct'> {
  readonly pattern: string;
  readonly score?: string;
  readonly repair?: string;
  readonly format: string;
  readonly statistics?: string;
}

const HELP = `
Patterns:
  2:4, 4:8, 1:3       of 4 weights next to each other in a row 2 stay; any N of M, M up to 16
  2:4x8               the same pattern for 8 rows
  50%                 the weights that are worth the least go; 1000: so many of them
  block:32x32:75%     blocks of 32 rows and 32 columns
The last two compare the weights of a layer, or with @row those of a row, with @model those of all matrices. Single weights are
compared within rows where inputs are known, unless told otherwise. Where a row ends within a group or block, that counts as
filled up with zeros. Of equal scores the first stay.

Scores: magnitude |w|; wanda |w| √H_jj; obs w² / [H⁻¹]_jj, H being of the calibration. The repair obs removes weights in steps and
moves those that stay (SparseGPT's update, then coordinate descent). Both are obs where there is a calibration and no score.

Weights that are gone are zeros: files take as much room as before, unless --format quantizes what is left.

Examples:
  $ compressa prune models/union-7m -o out/union-2of4 --pattern 2:4 --calibration models/union-7m/calibration.txt
  $ compressa prune models/union-7m -o out/union-half.gguf --pattern 50% --score magnitude
  $ compressa prune my-model -o out/blocks --pattern block:32x32:75% --dry-run
`;

export function registerPrune(program: Command): void {
  program
    .command('prune')
    .argument('<model>', 'a Hugging Face folder, a .gguf or a .safetensors file')
    .description('set weights of the linear matrices to zero, on the GPU')
    .requiredOption(
      '-o, --out <path>',
      'where the result goes; its ending chooses: .gguf, .safetensors, or else a folder',
    )
    .requiredOption('--pattern <pattern>', 'which weights go: 2:4, 50%, block:32x32:75%, …')
    .option('--score <name>', `what a weight is worth: ${SCORES.join(', ')}`)
    .option('--repair <name>', `how the weights that stay make up for it: ${REPAIRS.join(', ')}`)
    .option('--calibration <file>', 'text in UTF-8 that shows what the inputs of the matrices are like')
    .option('--windows <n>', 'windows of the calibration text (default: 64)')
    .option('--window <n>', 'tokens in a window (default: 256)')
    .option('--statistics <file>', 'in place of a calibration text: what "compressa calibrate" gathered')
    .option('--no-propagate', 'calibrate each block on what the original blocks before it make')
    .option('--format <name>', 'quantize what is left to this format', 'keep')
    .option('--overwrite', 'replace what is at <path>')
    .option('--dry-run', 'only say what would be done, and the memory that it takes')
    .option('--json', 'print one JSON document, as compress does')
    .addOption(adapterOption())
    .addOption(gpuMemoryOption())
    .addHelpText('after', HELP)
    .action((model: string, options: PruneCommandOptions) => runPrune(model, options, { signal: interruptSignal }));
}

/** The command's work. A cancelled run leaves nothing behind. */
export async function runPrune(
  model: string,
  options: PruneCommandOptions,
  { signal }: { readonly signal: AbortSignal },
): Promise<void> {
  const { calibration: text, statistics: file } = options;
  if (text !== undefined && file !== undefined) throw new ArgumentError('Give one of --calibration and --statistics.');
  const recipe = recipeOf(options, text !== undefined || file !== undefined);
  const kind = outputKind(options.out);
  await refuseReplacing(model, options.out, kind === 'folder');
  const calibration = await readCalibration(model, options, signal);
  const statistics = file === undefined ? undefined : await readStatistics(await openPath(file), signal);
  try {
    const inputs = { ...(calibration && { calibration }), ...(statistics && { statistics }) };
    await writeModel(model, kind, options, { ...inputs, recipe }, 'Pruning', signal);
  } finally {
    await statistics?.close();
  }
}

/** @throws RecipeError, FormatError that name the value */
function recipeOf({ pattern, score, repair, format }: PruneCommandOptions, calibrated: boolean): Recipe {
  // Without a word about the score, the best that the inputs allow.
  const best = calibrated && score === undefined ? { score: 'obs', repair: 'obs' } : {};
  const prune = {
    ...{ pattern, ...best },
    ...(score !== undefined && { score }),
    ...(repair !== undefined && { repair }),
  };
  return parseRecipe({ version: 1, rules: [{ match: '*', role: 'linear', format, prune }] }, 'The pruning');
}
