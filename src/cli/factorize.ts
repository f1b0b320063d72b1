import type { Command } from 'commander';
import { ArgumentError } from '../errors.ts';
import { openPath } from '../files/node-files.ts';
import { refuseReplacing } from '../files/node-same-files.ts';
import { readStatistics } from '../passes/calibration/read-statistics.ts';
import { type FactorizeReport, factorize, recipeOf } from '../passes/factorize/factorize.ts';
import { ACROSS, BUDGETS } from '../passes/factorize/rank.ts';
import { WHITEN_BY } from '../passes/lowrank/whiten-by.ts';
import { METHODS, methodByName } from '../passes/methods/method.ts';
import { compileRecipe } from '../passes/recipe.ts';
import { suggest } from '../suggest.ts';
import { type CalibrationOptions, readCalibration } from './calibration.ts';
import { adapterOption, type GpuOptions, gpuMemoryOption, withGpu } from './gpu-options.ts';
import { interruptSignal } from './interrupt.ts';
import { openInput } from './node-inputs.ts';
import { openImatrix } from './open-imatrix.ts';
import { print, printJson } from './output.ts';
import { outputKind } from './output-kind.ts';
import { type ProgressUnit, startProgress } from './progress.ts';
import { wholeNumber } from './text.ts';
import { withOutput } from './write-model.ts';

export interface FactorizeCommandOptions extends GpuOptions, Omit<CalibrationOptions, 'correct'> {
  readonly out: string;
  readonly keep?: string;
  readonly rank?: string;
  readonly energy?: string;
  readonly whiten?: boolean | string;
  readonly across?: string;
  readonly budget?: string;
  readonly residual?: boolean;
  readonly format?: string;
  readonly method?: string;
  readonly factors?: string;
  readonly statistics?: string;
  readonly imatrix?: string;
  readonly match?: string;
  readonly seed?: string;
  readonly overwrite?: boolean;
  readonly json?: boolean;
}

const HELP = `
Each linear matrix becomes the product of two of lower rank, which have the matrix's type, or --format. One whose factors would take as much room stays whole.
With --residual the matrix stays, in --format, and the factors are what that has lost. With a calibration, or statistics, factors are chosen by what they do to the
outputs (whitened by the Cholesky factor of H); without, by the weights alone.

Examples:
  $ compressa factorize models/union-7m -o out/union-0.8 --keep 0.8 --calibration models/union-7m/calibration.txt
  $ compressa factorize models/union-7m -o out/union-99 --energy 0.99
  $ compressa factorize models/union-7m -o out/union-int3 --residual --format int3-g64 --rank 4 --calibration models/union-7m/calibration.txt
`;

export function registerFactorize(program: Command): void {
  program
    .command('factorize')
    .argument('<model>', 'a Hugging Face folder, a .gguf or a .safetensors file')
    .description('replace linear matrices by products of two of lower rank, on the GPU')
    .requiredOption('-o, --out <path>', 'where the result goes: a .safetensors file, or else a folder')
    .option('--keep <share>', 'of the parameters of each matrix, such as 0.8')
    .option('--rank <r>', 'singular values to keep of each matrix')
    .option(
      '--energy <share>',
      'of the sum of squares of singular values to keep of each matrix at least, such as 0.99',
    )
    .option(
      '--residual',
      'quantize each matrix, and keep what of its loss factors can make up for (--rank: default 32)',
    )
    .option('--format <name>', 'of the matrices with --residual; else of the factors')
    .option('--method <name>', `how codes of the matrices are chosen: ${METHODS.join(', ')}`)
    .option('--factors <name>', 'with --residual: the format of the factors (default: f16)')
    .option(
      '--across <what>',
      'with --keep: a share of each matrix (default), or of the model, with ranks that lose least',
    )
    .option(
      '--budget <what>',
      'with --across model: a share of its parameters (default), or of the time that the products of a token take on this device (time)',
    )
    .option(
      '--whiten [by]',
      'choose factors by what they do to the outputs, as happens where there is a calibration: by all of H (hessian), or by the sizes of the inputs (columns)',
    )
    .option('--calibration <file>', 'text in UTF-8 that shows what the inputs of the matrices are like')
    .option('--windows <n>', 'windows of the calibration text (default: 64)')
    .option('--window <n>', 'tokens in a window (default: 256)')
    .option('--statistics <file>', 'in place of a calibration text: what "compressa calibrate" gathered')
    .option(
      '--imatrix <file>',
      'in place of both: weigh columns by an importance matrix of llama.cpp, or by sums of Fisher information that lie in such a file (FWSVD)',
    )
    .option('--no-propagate', 'calibrate each block on what the original blocks before it make')
    .option('--match <glob>', 'only matrices with such names')
    .option('--seed <n>', 'of the random numbers (default: 0)')
    .option('--overwrite', 'replace what is at <path>')
    .option('--json', 'print one JSON document')
    .addOption(adapterOption())
    .addOption(gpuMemoryOption())
    .addHelpText('after', HELP)
    .action((model: string, options: FactorizeCommandOptions) =>
      runFactorize(model, options, { signal: interruptSignal }),
    );
}

const MATRICES: ProgressUnit = { name: 'matrices', scale: 1 };

/** The command's work. A cancelled run leaves nothing behind. */
export async function runFactorize(
  model: string,
  options: FactorizeCommandOptions,
  { signal }: { readonly signal: AbortSignal },
): Promise<void> {
  const { calibration: text, statistics: file, imatrix, match, seed } = options;
  const shown = [text, file, imatrix].filter((given) => given !== undefined).length;
  if (shown > 1) throw new ArgumentError('Give one of --calibration, --statistics and --imatrix.');
  if (options.whiten && shown === 0) {
    throw new ArgumentError('--whiten needs to know the inputs: give --calibration, --statistics or --imatrix.');
  }
  if (options.whiten === 'hessian' && imatrix !== undefined) {
    throw new ArgumentError('An importance matrix knows columns only: leave "hessian" out.');
  }
  const target = {
    ...(options.keep !== undefined && { keep: share(options.keep) }),
    ...(options.rank !== undefined && { rank: wholeNumber('--rank', options.rank, 1) }),
    ...(options.energy !== undefined && { energy: share(options.energy) }),
    ...(options.across !== undefined && { across: oneOf('--across', options.across, ACROSS) }),
    ...(options.budget !== undefined && { budget: oneOf('--budget', options.budget, BUDGETS) }),
  };
  const how = {
    ...target,
    ...(options.residual && { residual: true }),
    ...(typeof options.whiten === 'string' && { whiten: oneOf('--whiten', options.whiten, WHITEN_BY) }),
    ...(options.format !== undefined && { format: options.format }),
    ...(options.method !== undefined && { method: methodByName(options.method, '--method') }),
    ...(options.factors !== undefined && { factors: options.factors }),
  };
  // Before the GPU is opened: most mistakes show here.
  compileRecipe(recipeOf(how), 'The factorization');
  const random = seed === undefined ? {} : { seed: wholeNumber('--seed', seed, 0) };
  const kind = outputKind(options.out);
  if (kind === 'gguf') {
    throw new ArgumentError(`${options.out}: GGUF has no tensors for factors. Name a folder or a .safetensors file.`);
  }
  await refuseReplacing(model, options.out, kind === 'folder');
  const calibration = await readCalibration(model, options, signal);
  const statistics = file === undefined ? undefined : await readStatistics(await openPath(file), signal);
  try {
    const report = await withOutput(options.out, kind, { overwrite: options.overwrite ?? false }, (output) =>
      withGpu(options, async (gpu) => {
        const source = await openInput(model);
        const progress = startProgress('Factoring', MATRICES);
        try {
          return await factorize(source, output, {
            ...{ gpu, signal, onProgress: progress.update, ...how, ...random },
            ...(calibration && { calibration }),
            ...(statistics && { statistics }),
            ...(imatrix !== undefined && { statistics: await openImatrix(model, imatrix, signal) }),
            ...(match !== undefined && { match }),
          });
        } finally {
          progress.stop();
        }
      }),
    );
    for (const notice of report.notices) console.error(`note: ${notice}`);
    if (options.json) await printJson({ ...report, output: options.out });
    else await print(summary(report, options.out));
  } finally {
    await statistics?.close();
  }
}

function oneOf<const T extends string>(option: string, text: string, known: readonly T[]): T {
  const found = known.find((one) => one === text);
  if (found !== undefined) return found;
  throw new ArgumentError(`${option} takes one of ${known.join(', ')}, not "${text}".${suggest(text, known)}`);
}

/** Nothing is no number, though Number('') is 0. */
const share = (text: string): number => Number(text.trim() || Number.NaN);

function summary(report: FactorizeReport, path: string): string {
  const { matrices, parameters, bytesBefore, bytesAfter, bitsPerWeight, seconds } = report;
  const factored = matrices.filter(({ rank }) => rank !== null);
  const kept = matrices.length - factored.length;
  const worst = factored.reduce((most, one) => (one.error > most.error ? one : most));
  const left = kept === 0 ? '' : `, ${kept} stay as they are`;
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(2)} MB`;
  return [
    `Wrote ${path} in ${seconds.toFixed(1)} s: ${factored.length} matrices are factored${left}.`,
    `Parameters of linear matrices: ${((100 * parameters.after) / parameters.before).toFixed(1)}% of ${parameters.before}; tensors: ${megabytes(bytesBefore)} to ${megabytes(bytesAfter)}, ${bitsPerWeight.withoutEmbeddings.toFixed(2)} bits per weight without embeddings.`,
    `The largest loss, relative to leaving the matrix out, is ${(100 * worst.error).toPrecision(3)}% (${worst.name}).`,
  ].join('\n');
}
