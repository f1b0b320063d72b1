import type { Command } from 'commander';
import { ArgumentError } from '../errors.ts';
import { openPath } from '../files/node-files.ts';
import { makeParent } from '../files/node-folders.ts';
import { refuseReplacing } from '../files/node-same-files.ts';
import { nodeFileSink } from '../files/node-sink.ts';
import type { ByteSink } from '../files/sink.ts';
import { factorFile } from '../passes/lowrank/factor-file.ts';
import { adapterOption, type GpuOptions, gpuMemoryOption, withGpu } from './gpu-options.ts';
import { interruptSignal } from './interrupt.ts';
import { print, printJson } from './output.ts';
import { MEGABYTES, startProgress } from './progress.ts';

export interface SvdCommandOptions extends GpuOptions {
  readonly out: string;
  readonly rank: string;
  readonly oversampling?: string;
  readonly powerIterations?: string;
  readonly seed?: string;
  readonly overwrite?: boolean;
  readonly json?: boolean;
}

const HELP = `
Each matrix "name" of F64, F32, F16 or BF16 becomes "name.U" [rows, rank], "name.S" [rank] and "name.V" [columns, rank] in F32: the matrix
is U · diag(S) · Vᵀ, as near as a matrix of that rank can be, or nearly. Other tensors are copied.

Example:
  $ compressa svd weights.safetensors -o out/factors.safetensors --rank 32
`;

export function registerSvd(program: Command): void {
  program
    .command('svd')
    .argument('<file>', 'a .safetensors file')
    .description('factor every matrix of a file by a randomized singular value decomposition')
    .requiredOption('-o, --out <path>', 'the .safetensors file that the factors go to')
    .requiredOption('--rank <k>', 'singular values to keep of each matrix')
    .option('--oversampling <n>', 'columns of the sketch beyond the rank (default: 10)')
    .option('--power-iterations <n>', 'times that the sketch is multiplied with the matrix again (default: 2)')
    .option('--seed <n>', 'of the random numbers (default: 0)')
    .option('--overwrite', 'replace what is at <path>')
    .option('--json', 'print one JSON document')
    .addOption(adapterOption())
    .addOption(gpuMemoryOption())
    .addHelpText('after', HELP)
    .action((file: string, options: SvdCommandOptions) => runSvd(file, options, { signal: interruptSignal }));
}

/** The command's work. A cancelled run leaves nothing behind. */
export async function runSvd(
  file: string,
  options: SvdCommandOptions,
  { signal }: { readonly signal: AbortSignal },
): Promise<void> {
  for (const path of [file, options.out]) {
    if (!/\.safetensors$/i.test(path)) {
      throw new ArgumentError(
        `${path}: matrices are read from a .safetensors file and factors written to one. Name it.`,
      );
    }
  }
  const started = performance.now();
  const rank = whole('--rank', options.rank)!;
  const oversampling = whole('--oversampling', options.oversampling);
  const powerIterations = whole('--power-iterations', options.powerIterations);
  const seed = whole('--seed', options.seed);
  await refuseReplacing(file, options.out, false);
  const removeParents = await makeParent(options.out);
  let sink: ByteSink | undefined;
  try {
    const target = await nodeFileSink(options.out, { overwrite: options.overwrite ?? false });
    sink = target;
    const tensors = await withGpu(options, async (gpu) => {
      const progress = startProgress('Factoring', MEGABYTES);
      try {
        return await factorFile(await openPath(file), target, {
          ...{ gpu, rank, signal, onProgress: progress.update },
          ...(oversampling !== undefined && { oversampling }),
          ...(powerIterations !== undefined && { powerIterations }),
          ...(seed !== undefined && { seed }),
        });
      } finally {
        progress.stop();
      }
    });
    const seconds = (performance.now() - started) / 1000;
    if (options.json) {
      const listed = tensors.map((tensor) => ({ ...tensor, singularValues: [...tensor.singularValues] }));
      await printJson({ version: 1, output: options.out, rank, tensors: listed, seconds });
    } else {
      await print(`Wrote ${options.out}: ${tensors.length} matrices of rank ${rank}, in ${seconds.toFixed(1)} s.`);
    }
  } catch (error) {
    await sink?.abort();
    await removeParents();
    throw error;
  }
}

function whole(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,10}$/.test(text)) throw new ArgumentError(`${option} is "${text}": give a whole number.`);
  return Number(text);
}
