import { basename } from 'node:path';
import type { Command } from 'commander';
import { ArgumentError } from '../errors.ts';
import { makeParent } from '../files/node-folders.ts';
import { nodeFileSink } from '../files/node-sink.ts';
import type { ByteSink } from '../files/sink.ts';
import { calibrate } from '../passes/calibration/calibrate.ts';
import { calibrateImatrix } from '../passes/calibration/imatrix.ts';
import { readCalibration } from './calibration.ts';
import { adapterOption, type GpuOptions, gpuMemoryOption, withGpu } from './gpu-options.ts';
import { interruptSignal } from './interrupt.ts';
import { openInput } from './node-inputs.ts';
import { print, printJson } from './output.ts';
import { startProgress } from './progress.ts';

export interface CalibrateCommandOptions extends GpuOptions {
  readonly text: string;
  readonly out: string;
  readonly windows?: string;
  readonly window?: string;
  readonly overwrite?: boolean;
  readonly json?: boolean;
}

const HELP = `
Runs the original model over the text and writes what the input of each matrix is like: H = XXᵀ/T, and of each column the
mean of |x| and x² and the largest |x|. "compressa compress --statistics" takes the file in place of a calibration text.

Example:
  $ compressa calibrate models/union-7m -o out/union-statistics.safetensors --text models/union-7m/calibration.txt
`;

export function registerCalibrate(program: Command): void {
  program
    .command('calibrate')
    .argument('<model>', 'a Hugging Face folder or a .gguf file')
    .description('gather statistics of the inputs of all matrices of a model over a text')
    .requiredOption(
      '-o, --out <path>',
      'the .safetensors file that they go to; a .gguf file is an importance matrix of llama.cpp',
    )
    .requiredOption(
      '--text <file>',
      'text in UTF-8 of the kind that the model is for; never the text that it is scored on',
    )
    .option('--windows <n>', 'windows of the text (default: 64)')
    .option('--window <n>', 'tokens in a window (default: 256)')
    .option('--overwrite', 'replace what is at <path>')
    .option('--json', 'print one JSON document')
    .addOption(adapterOption())
    .addOption(gpuMemoryOption())
    .addHelpText('after', HELP)
    .action((model: string, options: CalibrateCommandOptions) =>
      runCalibrate(model, options, { signal: interruptSignal }),
    );
}

/** The command's work. A cancelled run leaves nothing behind. */
export async function runCalibrate(
  model: string,
  options: CalibrateCommandOptions,
  { signal }: { readonly signal: AbortSignal },
): Promise<void> {
  const ending = /\.(safetensors|gguf)$/i.exec(options.out)?.[1]?.toLowerCase();
  if (ending === undefined) {
    throw new ArgumentError(
      `${options.out}: statistics go to a .safetensors file, or as an importance matrix to a .gguf file. Name one (-o).`,
    );
  }
  const { text, windows, window } = options;
  const calibration = (await readCalibration(
    model,
    { calibration: text, ...(windows !== undefined && { windows }), ...(window !== undefined && { window }) },
    signal,
  ))!;
  const removeParents = await makeParent(options.out);
  let sink: ByteSink | undefined;
  try {
    const file = await nodeFileSink(options.out, { overwrite: options.overwrite ?? false });
    sink = file;
    const header = await withGpu(options, async (gpu) => {
      const progress = startProgress('Calibrating', { name: 'windows', scale: 1 });
      try {
        const source = await openInput(model);
        const onProgress = (done: number, total: number) => progress.update(done, total, '');
        const how = { gpu, calibration, signal, onProgress };
        if (ending === 'safetensors') return await calibrate(source, file, how);
        const { importance, ...imatrix } = await calibrateImatrix(source, file, { ...how, dataset: basename(text) });
        return { version: 1, ...imatrix, matrices: [...importance.keys()] };
      } finally {
        progress.stop();
      }
    });
    if (options.json) await printJson({ ...header, output: options.out });
    else await print(`Wrote ${options.out}.`);
  } catch (error) {
    await sink?.abort();
    await removeParents();
    throw error;
  }
}
