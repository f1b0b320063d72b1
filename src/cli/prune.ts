import { type Command, InvalidArgumentError } from 'commander';
import { ArgumentError } from '../errors.ts';
import { openPath } from '../files/node-files.ts';
import { refuseReplacing } from '../files/node-same-files.ts';
import { reason } from '../files/text.ts';
import { readStatistics } from '../passes/calibration/read-statistics.ts';
import { PRUNE_BUDGETS } from '../passes/pruning/budget.ts';
import { REPAIRS } from '../passes/pruning/pruning.ts';
import { parseRecipe, type Recipe } from '../passes/recipe.ts';
import { isLayersPattern, isShrinkPattern, SHRINK_REPAIRS, SHRINK_SCORES } from '../passes/shrinking/shrinking.ts';
import { type CalibrationOptions, readCalibration } from './calibration.ts';
import { adapterOption, gpuMemoryOption, parseSize } from './gpu-options.ts';
import { interruptSignal } from './interrupt.ts';
import { outputKind } from './output-kind.ts';
import { wholeNumber } from './text.ts';
import { tuneOption } from './tune-option.ts';
import { type WriteModelOptions, writeModel } from './write-model.ts';

export interface PruneCommandOptions extends WriteModelOptions, Omit<CalibrationOptions, 'correct'> {
  readonly pattern: string;
  readonly score?: string;
  readonly repair?: string;
  readonly seed?: string;
  readonly layers?: string;
  readonly rounds?: string;
  readonly keep?: number;
  readonly budget?: string;
  readonly packed?: boolean;
  readonly format: string;
  readonly method?: string;
  readonly refine?: string;
  readonly statistics?: string;
}

const HELP = `
Patterns:
  2:4, 4:8, 1:3       of 4 weights next to each other in a row 2 stay; any N of M, M up to 16
  2:4x8               the same pattern for 8 rows
  50%                 the weights that are worth the least go; 1000: so many of them
  block:32x32:75%     blocks of 32 rows and 32 columns
The last two compare the weights of a matrix (@layer), or with @row those of a row, with @model those of all matrices. Single weights
that are scored by wanda or obs are compared within rows, unless told otherwise. Where a row ends within a group or block, that counts as
filled up with zeros. Of equal scores the first stay.

  ffn:25%, ffn:192    that share, or number, of the channels of each FFN
  heads:1             of each layer a key and value head with all query heads that share it
  layers:1            the layer that changes its input least (1 − the cosine of what goes in and comes out)
These make the model smaller; several of them are written with commas between them. Weights, or structures, of one model are
pruned at a time.

A pattern that says no amount (ffn, heads, layers, or with --packed block:32x32) leaves it to a budget, which removes as little as it
can: --keep 0.7 of the bytes of the files of weights, --keep 12MB, or with --budget time a share of the time that the products of a
token take on this device, measured. Shares are of the same formats with nothing removed.

Scores: magnitude |w|; wanda |w| √H_jj; obs w² / [H⁻¹]_jj, H being of the calibration. The repair obs removes weights in steps and
moves those that stay (SparseGPT's update, then coordinate descent). Both are obs where there is a calibration and no score.
Structures are scored by the columns of the matrix that reads them: by their squares, or what the error grows by when they go and
the others make up for it; --score random is a control. The repair refit fits that matrix to what stays, W H(:,S) H(S,S)⁻¹.
Both are the default (obs, refit) where there is a calibration and no score. --layers sensitivity removes as many channels of all
FFNs together, of each as many as costs least as measured; such models are for Compressa only.

With --format and --method gptq one sweep prunes and quantizes: what stays makes up for both (SparseGPT's joint form).

Single weights that are gone are zeros: files take as much room as before, unless --format quantizes what is left, or --packed leaves
out what an N:M or block pattern removed: a folder or .safetensors file then has its weights packed, which Compressa runs as they are.

Examples:
  $ compressa prune models/union-7m -o out/union-2of4 --pattern 2:4 --calibration models/union-7m/calibration.txt
  $ compressa prune models/union-7m -o out/union-half.gguf --pattern 50% --score magnitude
  $ compressa prune models/union-7m -o out/union-joint --pattern 2:4 --packed --format q4_0 --method gptq --calibration models/union-7m/calibration.txt
  $ compressa prune models/union-7m -o out/union-slim.gguf --pattern ffn:25% --calibration models/union-7m/calibration.txt
  $ compressa prune my-model -o out/faster --pattern ffn --keep 0.8 --budget time --calibration text.txt
  $ compressa prune my-model -o out/blocks --pattern block:32x32:75% --packed --dry-run
`;

export function registerPrune(program: Command): void {
  program
    .command('prune')
    .argument('<model>', 'a Hugging Face folder, a .gguf or a .safetensors file')
    .description('set weights of the linear matrices to zero, or remove channels, heads and layers, on the GPU')
    .requiredOption(
      '-o, --out <path>',
      'where the result goes; its ending chooses: .gguf, .safetensors, or else a folder',
    )
    .requiredOption('--pattern <pattern>', 'what goes: 2:4, 50%, block:32x32:75%, ffn:25%, heads:1, layers:1, …')
    .option('--score <name>', `what is worth how much: ${SHRINK_SCORES.join(', ')}`)
    .option(
      '--repair <name>',
      `how what stays makes up for it: ${[...new Set([...REPAIRS, ...SHRINK_REPAIRS])].join(', ')}`,
    )
    .option('--seed <n>', 'of the score random (default: 0)')
    .option(
      '--layers <name>',
      'how a share is spread over layers: uniform, owl (by outlier ratio, of weights), sensitivity (as measured)',
    )
    .option(
      '--rounds <n>',
      'prune the whole model so often, by more each time, calibrated anew on what is left (default: 1)',
    )
    .option(
      '--keep <amount>',
      'in place of an amount in the pattern: what is to be left, a share such as 0.7, or 12MB',
      amountLeft,
    )
    .option('--budget <what>', `what it is a share of: ${PRUNE_BUDGETS.join(', ')} (default: bytes)`)
    .option('--packed', 'store only what an N:M or block pattern keeps, and where, for Compressa to read')
    .option('--calibration <file>', 'text in UTF-8 that shows what the inputs of the matrices are like')
    .option('--windows <n>', 'windows of the calibration text (default: 64)')
    .option('--window <n>', 'tokens in a window (default: 256)')
    .option('--statistics <file>', 'in place of a calibration text: what "compressa calibrate" gathered')
    .option('--no-propagate', 'calibrate each block on what the original blocks before it make')
    .option('--format <name>', 'quantize what is left to this format', 'keep')
    .option('--method <name>', 'how its codes are chosen; gptq prunes and quantizes in one sweep')
    .option(
      '--refine <rounds>',
      'rounds of refinement behind gptq (default: 8 for weights and blocks, 3 for structures)',
    )
    .option('--overwrite', 'replace what is at <path>')
    .option('--dry-run', 'only say what would be done: sizes, memory, time on this device, masks')
    .option('--json', 'print one JSON document, as compress does')
    .addOption(adapterOption())
    .addOption(gpuMemoryOption())
    .addOption(tuneOption('quick'))
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

/** A share below 1, or bytes. @throws InvalidArgumentError, whose message Commander prints where it parses an option, and only there */
function amountLeft(text: string): number {
  const share = Number(text.trim() || Number.NaN);
  if (share > 0 && share < 1) return share;
  try {
    return parseSize(text);
  } catch (error) {
    throw new InvalidArgumentError(`Give a share between 0 and 1, such as 0.7, or bytes. ${reason(error)}`);
  }
}

/** @throws RecipeError, FormatError that name the value */
function recipeOf(options: PruneCommandOptions, calibrated: boolean): Recipe {
  const { pattern, score, repair, seed, layers, packed, format, method, refine } = options;
  const shrinks = isShrinkPattern(pattern);
  if (layers === 'owl' && shrinks)
    throw new ArgumentError(
      '--layers owl is for single weights and blocks: give --layers sensitivity, or leave it out.',
    );
  if (packed && shrinks)
    throw new ArgumentError('--packed is for N:M and block patterns: structures leave smaller matrices anyway.');
  if (seed !== undefined && !(shrinks && score === 'random'))
    throw new ArgumentError('--seed is of the score random, for structures: leave it out.');
  // Without a word about the score, the best that the inputs allow.
  const scored = calibrated && score === undefined && !isLayersPattern(pattern);
  const best = scored ? { score: 'obs', repair: shrinks ? 'refit' : 'obs' } : {};
  const how = {
    ...{ pattern, ...best },
    ...(score !== undefined && { score }),
    ...(repair !== undefined && { repair }),
    ...(seed !== undefined && { seed: wholeNumber('--seed', seed, 0) }),
    ...(layers !== undefined && { layers }),
    ...(packed && { packed }),
    ...(options.rounds !== undefined && { rounds: wholeNumber('--rounds', options.rounds, 1) }),
    ...(options.keep !== undefined && { keep: options.keep }),
    ...(options.budget !== undefined && { budget: options.budget }),
  };
  if (format === 'keep' && (method ?? refine) !== undefined)
    throw new ArgumentError('--method and --refine are about --format: say which.');
  const quantize = {
    format,
    ...(method !== undefined && { method }),
    ...(refine !== undefined && { refine: wholeNumber('--refine', refine, 0) }),
  };
  if (shrinks) {
    const rule = { match: '*', ...(format !== 'keep' && { role: 'linear' }), ...quantize };
    return parseRecipe({ version: 1, rules: [rule], shrink: how }, 'The pruning');
  }
  return parseRecipe({ version: 1, rules: [{ match: '*', role: 'linear', ...quantize, prune: how }] }, 'The pruning');
}
