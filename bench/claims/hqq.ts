import {
  compress,
  formatByName,
  type Gpu,
  type Method,
  memoryFolder,
  memoryOutput,
  nodeFolder,
  openCheckpoint,
  openModel,
  scoreWindows,
} from 'compressa';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';
import { validationWindows } from '../model-quality.ts';
import { random } from '../random.ts';

const WEIGHTS = 'model.safetensors';
const FORMATS = ['int4-g64-fzp', 'int3-g64-fzp', 'int2-g64-fzp'] as const;
type Files = ReadonlyMap<string, Uint8Array<ArrayBuffer>>;

async function compressed(gpu: Gpu, format: string, method: Method): Promise<Files> {
  const output = memoryOutput();
  await compress(await nodeFolder(SAMPLE_MODEL), output, { gpu, format, method });
  return output.files as Files;
}

async function perplexityOf(gpu: Gpu, files: Files, windows: readonly Uint32Array[]): Promise<number> {
  const model = await openModel(memoryFolder('compressed', Object.fromEntries(files)), {
    gpu,
    maxPositions: windows[0]!.length,
  });
  try {
    return (await scoreWindows(model.decoder, model.decoder, windows)).perplexity.original;
  } finally {
    await model.close();
  }
}

/** The same model, in which each group of a matrix has the zero point of some other group of it. */
async function withShuffledZeros(files: Files): Promise<Files> {
  const checkpoint = await openCheckpoint(memoryFolder('compressed', Object.fromEntries(files)));
  const bytes = files.get(WEIGHTS)!.slice();
  const next = random(3);
  for (const [name, { offset, byteLength }] of checkpoint.tensors) {
    if (!name.endsWith('.zeros')) continue;
    const zeros = new Uint16Array(bytes.slice(offset, offset + byteLength).buffer);
    for (let i = zeros.length - 1; i > 0; i--) {
      const j = Math.floor(next() * (i + 1));
      [zeros[i], zeros[j]] = [zeros[j]!, zeros[i]!];
    }
    bytes.set(new Uint8Array(zeros.buffer), offset);
  }
  await checkpoint.close();
  return new Map([...files, [WEIGHTS, bytes]]);
}

/** Half-quadratic zero points cost the sample model less than those of rounding to nearest at two and three bits, and belong to their groups. */
export const claim: Claim = {
  name: 'hqq',
  async measure(gpu) {
    const windows = validationWindows();
    const results: Measurement[] = [];
    for (const format of FORMATS) {
      const rounded = await perplexityOf(gpu, await compressed(gpu, format, 'rtn'), windows);
      const files = await compressed(gpu, format, 'hqq');
      const moved = await perplexityOf(gpu, files, windows);
      const { bits } = formatByName(format).integer!;
      results.push({
        claim: `perplexity with ${format} and hqq, beside round to nearest`,
        // Four bits leave it little to gain: there it has to cost hardly more.
        threshold: bits < 4 ? 'less' : 'at most 1.01 of it',
        measured: `${moved.toFixed(4)} beside ${rounded.toFixed(4)}`,
        pass: bits < 4 ? moved < rounded : moved <= 1.01 * rounded,
      });
      if (bits !== 2) continue;
      // It has to fail what is asked for above.
      const shuffled = await perplexityOf(gpu, await withShuffledZeros(files), windows);
      results.push({
        claim: `control: ${format} with the zero points of other groups`,
        threshold: 'more than round to nearest',
        measured: `${shuffled.toFixed(4)} beside ${rounded.toFixed(4)}`,
        pass: shuffled > rounded,
      });
    }
    return results;
  },
};
