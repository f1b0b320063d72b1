import type { Command } from 'commander';
import { ArgumentError } from '../errors.ts';
import { type Checkpoint, openCheckpoint } from '../files/checkpoint.ts';
import { decodeFloat8 } from '../files/convert.ts';
import { isFloat8 } from '../files/float8.ts';
import { openPath } from '../files/node-files.ts';
import { readStatistics } from '../passes/calibration/read-statistics.ts';
import { type MatrixSpectrum, MOST_VALUES, spectraOf } from '../passes/lowrank/spectrum.ts';
import { modelGraph } from '../passes/model-graph.ts';
import { globMatcher } from '../passes/recipe.ts';
import {
  type AnyWeight,
  allWeightsOf,
  checkWeight,
  chunkRows,
  denseFormatOf,
  readValues,
  type StoredWeight,
} from '../passes/stored-weight.ts';
import { sparkline, type ValueStatistics, valueStatistics } from '../passes/value-statistics.ts';
import { type WholeWeight, wholeWeights } from '../passes/whole-weight.ts';
import { type CalibrationOptions, readCalibration } from './calibration.ts';
import { bytesText, columns, safeName, shapeText } from './columns.ts';
import { adapterOption, type GpuOptions, gpuMemoryOption, withGpu } from './gpu-options.ts';
import { interruptSignal } from './interrupt.ts';
import { openInput } from './node-inputs.ts';
import { print, printJson, table } from './output.ts';
import { startProgress } from './progress.ts';
import { spectrumLines } from './spectrum-lines.ts';

export interface InspectCommandOptions extends GpuOptions, Omit<CalibrationOptions, 'correct' | 'propagate'> {
  readonly json?: boolean;
  readonly histogram?: string;
  readonly spectrum?: string;
  readonly statistics?: string;
}

const BINS = 40;

const HELP = `
Values of compressed matrices are shown as they decompress. Names in <glob>: * stands for anything.
A spectrum is drawn on a logarithmic scale of four decades, with the ranks that keep 50, 90 and 99% of the sum of squares; of more than
${MOST_VALUES} singular values the largest are looked at. With a calibration also whitened: what leaving out does to the outputs.

Examples:
  $ compressa inspect models/union-7m
  $ compressa inspect out/union-q4 --histogram '*.layers.0.*'
  $ compressa inspect models/union-7m --spectrum '*.layers.0.*' --calibration models/union-7m/calibration.txt
  $ compressa inspect out/union-q4.gguf
  $ compressa inspect tensors.safetensors --json
`;

export function registerInspect(program: Command): void {
  program
    .command('inspect')
    .argument('<model>', 'a model folder, compressed or not, or a .gguf or .safetensors file')
    .description('show the tensors of a model: shapes, formats, sizes, values')
    .option('--histogram <glob>', 'also read the values of these tensors: range, mean, deviation, histogram')
    .option('--spectrum <glob>', 'also find the singular values of these matrices, on the GPU')
    .option(
      '--calibration <file>',
      'with --spectrum: text in UTF-8 that shows what the inputs of the matrices are like',
    )
    .option('--windows <n>', 'windows of the calibration text (default: 64)')
    .option('--window <n>', 'tokens in a window (default: 256)')
    .option('--statistics <file>', 'in place of a calibration text: what "compressa calibrate" gathered')
    .option('--json', 'print one JSON document')
    .addOption(adapterOption())
    .addOption(gpuMemoryOption())
    .addHelpText('after', HELP)
    .action((model: string, options: InspectCommandOptions) => runInspect(model, options, { signal: interruptSignal }));
}

interface Line {
  readonly name: string;
  readonly shape: readonly number[];
  readonly format: string;
  readonly bytes: number;
  readonly bitsPerWeight: number;
  readonly values?: ValueStatistics;
}

/** The command's work. */
export async function runInspect(
  model: string,
  options: InspectCommandOptions,
  { signal }: { readonly signal: AbortSignal },
): Promise<void> {
  const chosen = options.histogram === undefined ? () => false : globMatcher(options.histogram);
  const checkpoint = await openCheckpoint(await openInput(model), { signal, checkWeight });
  try {
    const lines: Line[] = [];
    let matched = false;
    for (const [name, weight] of allWeightsOf(checkpoint)) {
      const wanted = chosen(name);
      matched ||= wanted;
      const values = wanted && hasValues(weight) ? await statistics(checkpoint, weight, signal) : undefined;
      lines.push({ ...lineOf(name, weight), ...(values && { values }) });
    }
    if (options.histogram !== undefined && !matched) {
      throw new ArgumentError(`No tensor of ${model} matches "${options.histogram}".`);
    }
    const spectra = await spectraFor(model, checkpoint, options, signal);
    const bytes = lines.reduce((sum, line) => sum + line.bytes, 0);
    const weights = lines.reduce((sum, { shape }) => sum + elements(shape), 0);
    const bitsPerWeight = weights === 0 ? 0 : (8 * bytes) / weights;
    const sizes = { version: 1, name: model, bytes, weights, bitsPerWeight };
    if (options.json) await printJson({ ...sizes, tensors: lines, ...(spectra && { spectra }) });
    else {
      const drawn = [...details(lines), ...spectrumLines(spectra ?? [])];
      await print([list(lines), ...drawn, totals(lines.length, weights, bytes, bitsPerWeight)].join('\n\n'));
    }
  } finally {
    await checkpoint.close();
  }
}

/** Undefined where none are asked for. @throws ArgumentError where no matrix has such a name, or options do not fit */
async function spectraFor(
  model: string,
  checkpoint: Checkpoint,
  options: InspectCommandOptions,
  signal: AbortSignal,
): Promise<MatrixSpectrum[] | undefined> {
  const { spectrum: glob, calibration: text, statistics: file } = options;
  if (glob === undefined) {
    if (text === undefined && file === undefined) return undefined;
    throw new ArgumentError('--calibration and --statistics are about spectra: give --spectrum.');
  }
  if (text !== undefined && file !== undefined) throw new ArgumentError('Give one of --calibration and --statistics.');
  const chosen = globMatcher(glob);
  const tensors = [...wholeWeights(checkpoint)].flatMap(([name, weight]) =>
    chosen(name) && weight.shape.length === 2 && !weight.shape.includes(0) && isReal(weight) ? [{ name }] : [],
  );
  if (tensors.length === 0) throw new ArgumentError(`No matrix of ${model} matches "${glob}".`);
  const calibration = await readCalibration(model, options, signal);
  const statistics = file === undefined ? undefined : await readStatistics(await openPath(file), signal);
  const graph = checkpoint.config ? modelGraph(checkpoint) : undefined;
  if (!graph && (calibration ?? statistics)) {
    throw new ArgumentError(`${model}: bare tensors can't be calibrated, since nothing says how they are used.`);
  }
  const progress = startProgress('Factoring', { name: 'matrices', scale: 1 });
  try {
    return await withGpu(options, (gpu) =>
      spectraOf({
        ...{ gpu, checkpoint, graph, tensors, inputs: calibration ?? statistics, signal },
        onProgress: progress.update,
      }),
    );
  } finally {
    progress.stop();
    await statistics?.close();
  }
}

const isReal = (weight: WholeWeight): boolean =>
  weight.kind !== 'dense' || weight.info.type === 'F64' || denseFormatOf(weight.info.type) !== undefined;

const elements = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

const hasValues = (weight: AnyWeight): weight is StoredWeight =>
  weight.kind === 'quantized' ||
  (weight.kind === 'dense' &&
    (weight.info.type === 'F64' || isFloat8(weight.info.type) || denseFormatOf(weight.info.type) !== undefined));

function lineOf(name: string, weight: AnyWeight): Line {
  const { shape } = weight;
  const bytes =
    weight.kind === 'quantized' ? weight.parts.reduce((sum, part) => sum + part.byteLength, 0) : weight.info.byteLength;
  const format =
    weight.kind === 'quantized'
      ? weight.format.name
      : weight.kind === 'opaque'
        ? weight.type
        : weight.info.type.toLowerCase();
  return { name, shape, format, bytes, bitsPerWeight: elements(shape) === 0 ? 0 : (8 * bytes) / elements(shape) };
}

async function statistics(checkpoint: Checkpoint, weight: StoredWeight, signal: AbortSignal): Promise<ValueStatistics> {
  const rows = weight.shape[0] ?? 1;
  // As f32, which is what the values become.
  const step = chunkRows(4 * elements(weight.shape.slice(1)));
  return valueStatistics(async function* () {
    for (let row = 0; row < rows; row += step) {
      yield await valuesOf(checkpoint, weight, row, Math.min(step, rows - row), signal);
    }
  }, BINS);
}

/** Those of eight bits as they are in the file: what scales them is a tensor of its own. */
async function valuesOf(
  checkpoint: Checkpoint,
  weight: StoredWeight,
  row: number,
  rows: number,
  signal: AbortSignal,
): Promise<Float32Array> {
  if (weight.kind === 'dense' && isFloat8(weight.info.type)) {
    return decodeFloat8(await checkpoint.read(weight.info, row, rows, signal), weight.info.type);
  }
  return readValues(checkpoint, weight, row, rows, signal);
}

const list = (lines: readonly Line[]): string =>
  columns(
    [
      ['tensor', 'shape', 'format', 'bits', 'size'],
      ...lines.map((line) => [
        safeName(line.name),
        shapeText(line.shape),
        line.format,
        line.bitsPerWeight.toFixed(2),
        bytesText(line.bytes),
      ]),
    ],
    [3, 4],
  );

const number = (x: number): string => (x === 0 ? '0' : x.toPrecision(4));

const details = (lines: readonly Line[]): string[] =>
  lines.flatMap(({ name, values }) =>
    values
      ? [
          table(
            [
              ['values', `|${sparkline(values.histogram)}|`],
              ['range', `${number(values.min)} to ${number(values.max)}`],
              ['mean ± std', `${number(values.mean)} ± ${number(values.std)}`],
              ...(values.nonFinite > 0 ? [['NaN or infinite', String(values.nonFinite)] as const] : []),
            ],
            safeName(name),
          ),
        ]
      : [],
  );

const totals = (tensors: number, weights: number, bytes: number, bits: number): string =>
  `${tensors} tensors, ${weights.toLocaleString('en-US')} weights, ${bytesText(bytes)}, ${bits.toFixed(2)} bits per weight`;
