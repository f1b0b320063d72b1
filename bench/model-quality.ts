import { readFileSync } from 'node:fs';
import {
  type CompressOptions,
  type CompressReport,
  compress,
  cutWindows,
  type Gpu,
  memoryFolder,
  memoryOutput,
  nodeFolder,
  openModel,
  scoreWindows,
} from 'compressa';
import { SAMPLE_MODEL } from './claim.ts';

/** Tokens of a file of the sample model: `validation` to score, `calibration` to calibrate. */
export function sampleTokens(file: 'validation' | 'calibration'): Uint16Array {
  const bytes = readFileSync(`${SAMPLE_MODEL}/${file}.tokens.u16`);
  return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
}

/** Of the protocol in REFERENCE.json: 64 windows of 256 tokens to calibrate, 16 to score. */
export const calibrationWindows = (): Uint32Array[] => cutWindows(sampleTokens('calibration'), { windows: 64 });
export const validationWindows = (): Uint32Array[] => cutWindows(sampleTokens('validation'), { windows: 16 });

/** What a compression made of the sample model. */
export interface Quality {
  readonly perplexity: number;
  /** Of the 56 linear matrices. */
  readonly bitsPerWeight: number;
  readonly report: CompressReport;
}

/** Compresses the sample model, embedding and norms left as they are, and scores what comes out. */
export async function qualityOf(
  gpu: Gpu,
  options: Omit<CompressOptions, 'gpu'>,
  windows: readonly Uint32Array[],
): Promise<Quality> {
  const output = memoryOutput();
  const report = await compress(await nodeFolder(SAMPLE_MODEL), output, { gpu, ...options });
  const linear = report.tensors.filter(({ role }) => role === 'linear');
  const bits = linear.reduce((sum, { bytesAfter }) => sum + 8 * bytesAfter, 0);
  const weights = linear.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
  const model = await openModel(memoryFolder('compressed', Object.fromEntries(output.files)), {
    gpu,
    maxPositions: windows[0]!.length,
  });
  try {
    const { decoder } = model;
    const { perplexity } = await scoreWindows(decoder, decoder, windows);
    return { perplexity: perplexity.original, bitsPerWeight: bits / weights, report };
  } finally {
    await model.close();
  }
}
