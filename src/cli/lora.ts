import { type Command, Option } from 'commander';
import { ArgumentError } from '../errors.ts';
import { type Checkpoint, openCheckpoint } from '../files/checkpoint.ts';
import { nodeFolder } from '../files/node-files.ts';
import { makeParent } from '../files/node-folders.ts';
import { nodeOutput } from '../files/node-output.ts';
import { refuseReplacing } from '../files/node-same-files.ts';
import type { OutputFolder } from '../files/sink.ts';
import { extractAdapter } from '../passes/lora/extract.ts';
import { FACTOR_TYPES, type FactorType } from '../passes/lora/peft.ts';
import { resizeAdapter } from '../passes/lora/resize.ts';
import { checkWeight } from '../passes/stored-weight.ts';
import { adapterOption, type GpuOptions, gpuMemoryOption, withGpu } from './gpu-options.ts';
import { interruptSignal } from './interrupt.ts';
import { openInput } from './node-inputs.ts';
import { print, printJson } from './output.ts';
import { type ProgressUnit, startProgress } from './progress.ts';
import { wholeNumber } from './text.ts';

interface SharedOptions extends GpuOptions {
  readonly out: string;
  readonly rank: string;
  readonly type?: FactorType;
  readonly overwrite?: boolean;
  readonly json?: boolean;
}

interface ExtractOptions extends SharedOptions {
  readonly match?: string;
  readonly oversampling?: string;
  readonly powerIterations?: string;
  readonly seed?: string;
}

interface Running {
  readonly signal: AbortSignal;
}

const EXTRACT_HELP = `
Both are model folders, .gguf or .safetensors files, of the same names and shapes. The adapter has B · A of every matrix that differs, as PEFT loads it;
what else differs, such as norms, is named on standard error.

Example:
  $ compressa lora extract models/base models/tuned -o out/adapter --rank 32
`;

const RESIZE_HELP = `
Example:
  $ compressa lora resize out/adapter -o out/smaller --rank 8
`;

const WEIGHTS: ProgressUnit = { name: 'M weights', scale: 1e6 };
const MODULES: ProgressUnit = { name: 'modules', scale: 1 };

export function registerLora(program: Command): void {
  const lora = program.command('lora').description('make and resize adapters of LoRA, in the layout of PEFT');
  withShared(lora.command('extract'))
    .argument('<base>', 'the model before it was tuned')
    .argument('<tuned>', 'the model after')
    .description('make an adapter of the difference of two models')
    .option('--match <glob>', 'only of tensors with such names')
    .option('--oversampling <n>', 'columns of the sketch beyond the rank (default: 10)')
    .option('--power-iterations <n>', 'times that the sketch is multiplied with the matrix again (default: 2)')
    .option('--seed <n>', 'of the random numbers (default: 0)')
    .addHelpText('after', EXTRACT_HELP)
    .action((base: string, tuned: string, options: ExtractOptions) =>
      runExtract(base, tuned, options, { signal: interruptSignal }),
    );
  withShared(lora.command('resize'))
    .argument('<adapter>', 'the folder of an adapter')
    .description('make an adapter of lower rank that does nearly the same')
    .addHelpText('after', RESIZE_HELP)
    .action((adapter: string, options: SharedOptions) => runResize(adapter, options, { signal: interruptSignal }));
}

const withShared = (command: Command): Command =>
  command
    .requiredOption('-o, --out <folder>', 'where the adapter goes')
    .requiredOption('--rank <r>', 'of its factors')
    .addOption(new Option('--type <type>', 'of its elements').choices(FACTOR_TYPES))
    .option('--overwrite', 'replace what is at <folder>')
    .option('--json', 'print one JSON document')
    .addOption(adapterOption())
    .addOption(gpuMemoryOption());

/** The command's work. A cancelled run leaves nothing behind. */
export async function runExtract(base: string, tuned: string, options: ExtractOptions, { signal }: Running) {
  const started = performance.now();
  const rank = wholeNumber('--rank', options.rank, 1);
  const oversampling = optionalNumber('--oversampling', options.oversampling);
  const powerIterations = optionalNumber('--power-iterations', options.powerIterations);
  const seed = optionalNumber('--seed', options.seed);
  for (const input of [base, tuned]) await refuseReplacing(input, options.out, true);
  const open: Checkpoint[] = [];
  try {
    for (const input of [base, tuned]) {
      open.push(await openCheckpoint(await openInput(input), { signal, checkWeight }));
    }
    const { modules, notices } = await withFolder(options, (output) =>
      withGpu(options, async (gpu) => {
        const progress = startProgress('Extracting', WEIGHTS);
        try {
          return await extractAdapter(open[0]!, open[1]!, output, {
            ...{ gpu, rank, signal, onProgress: progress.update },
            ...(options.match !== undefined && { match: options.match }),
            ...(options.type && { type: options.type }),
            ...(oversampling !== undefined && { oversampling }),
            ...(powerIterations !== undefined && { powerIterations }),
            ...(seed !== undefined && { seed }),
          });
        } finally {
          progress.stop();
        }
      }),
    );
    for (const notice of notices) console.error(`note: ${notice}`);
    const seconds = (performance.now() - started) / 1000;
    if (options.json) await printJson({ version: 1, output: options.out, rank, modules, notices, seconds });
    else await print(summary(options.out, rank, modules, 'what changed', seconds));
  } finally {
    for (const checkpoint of open) await checkpoint.close();
  }
}

/** The command's work. A cancelled run leaves nothing behind. */
export async function runResize(adapter: string, options: SharedOptions, { signal }: Running) {
  const started = performance.now();
  const rank = wholeNumber('--rank', options.rank, 1);
  await refuseReplacing(adapter, options.out, true);
  const folder = await nodeFolder(adapter);
  const modules = await withFolder(options, (output) =>
    withGpu(options, async (gpu) => {
      const progress = startProgress('Resizing', MODULES);
      try {
        return await resizeAdapter(folder, output, {
          ...{ gpu, rank, signal, onProgress: progress.update },
          ...(options.type && { type: options.type }),
        });
      } finally {
        progress.stop();
      }
    }),
  );
  const seconds = (performance.now() - started) / 1000;
  if (options.json) await printJson({ version: 1, output: options.out, rank, modules, seconds });
  else await print(summary(options.out, rank, modules, 'what it was', seconds));
}

const optionalNumber = (option: string, text: string | undefined) =>
  text === undefined ? undefined : wholeNumber(option, text, 0);

function summary(
  path: string,
  rank: number,
  modules: readonly { readonly module: string; readonly error: number }[],
  lost: string,
  seconds: number,
): string {
  const worst = modules.reduce((most, one) => (one.error > most.error ? one : most));
  const count = modules.length === 1 ? '1 module' : `${modules.length} modules`;
  const share = `${(100 * worst.error).toPrecision(3)}%`;
  return `Wrote ${path}: ${count} of rank ${rank}, in ${seconds.toFixed(1)} s. It leaves out at most ${share} of ${lost} (${worst.module}).`;
}

/** Lends the output folder to `work`: where that fails, neither it nor a folder made for it is left. */
async function withFolder<T>(
  { out, overwrite = false }: SharedOptions,
  work: (output: OutputFolder) => Promise<T>,
): Promise<T> {
  if (/\.(gguf|safetensors|bin)$/i.test(out)) {
    throw new ArgumentError(`${out}: an adapter is a folder, as PEFT has them. Name one.`);
  }
  const removeParents = await makeParent(out);
  let output: OutputFolder | undefined;
  try {
    output = await nodeOutput(out, { overwrite });
    return await work(output);
  } catch (error) {
    await output?.abort();
    await removeParents();
    throw error;
  }
}
