import {
  allocateWeight,
  compress,
  dequantizeStep,
  formatByName,
  type Gpu,
  memoryFolder,
  memoryOutput,
  nodeFolder,
  openCheckpoint,
  uploadWeight,
  verify,
} from 'compressa';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';
import { sampleTokens } from '../model-quality.ts';

/** What each type may cost the sample model: half a unit in the last place is 2^-4 of a weight in E4M3, 2^-3 in E5M2. */
const MOST = { 'e4m3-g128': 0.002, 'e5m2-g128': 0.01 } as const;

/** FP8: what codes stand for on the device, and what the formats cost the sample model. */
export const claim: Claim = {
  name: 'fp8',
  async measure(gpu) {
    const results: Measurement[] = [];
    for (const format of Object.keys(MOST) as (keyof typeof MOST)[]) {
      results.push(await codesOf(gpu, format), await costOf(gpu, format));
    }
    return results;
  },
};

/** A sign, an exponent, a fraction (OCP 8-bit Floating Point Specification 1.0). */
function valueOfCode(name: string, code: number): number {
  const [bits, bias] = name.startsWith('e4m3') ? [3, 7] : [2, 15];
  const exponent = (code & 0x7f) >> bits;
  const fraction = (code & ((1 << bits) - 1)) / (1 << bits);
  return (
    (code < 128 ? 1 : -1) * (exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias))
  );
}

async function codesOf(gpu: Gpu, name: keyof typeof MOST): Promise<Measurement> {
  const format = formatByName(name);
  const [rows, k] = [2, 128];
  const codes = Uint8Array.from({ length: rows * k }, (_, i) => i);
  const scales = new Uint8Array(Float32Array.of(1, 1).buffer);
  const weight = uploadWeight(gpu, format, rows, k, { codes, scales }, name);
  const f32 = formatByName('f32');
  const to = allocateWeight(gpu, f32, rows, k, 'values');
  const bad = { buffer: gpu.memory.allocate(4), size: 4 };
  const [from, target] = [weight.parts[0]!.arrays, to.parts[0]!.arrays[0]!];
  await gpu.scheduler.run([dequantizeStep({ format, from, target: f32, to: target, rows, k, bad })]);
  const values = new Float32Array((await gpu.readBack(target.buffer, target.offset ?? 0, 4 * rows * k)).buffer);
  weight.release();
  to.release();
  gpu.memory.release(bad.buffer);
  const largest = name.startsWith('e4m3') ? 0x7e : 0x7b;
  const finite = [...codes].filter((code) => (code & 0x7f) <= largest);
  const wrong = finite.filter((code) => !Object.is(values[code], valueOfCode(name, code)));
  return {
    claim: `${name}: finite codes whose value on the device is not that of the specification`,
    threshold: '0',
    measured: `${wrong.length} of ${finite.length}`,
    pass: wrong.length === 0,
  };
}

async function costOf(gpu: Gpu, format: keyof typeof MOST): Promise<Measurement> {
  const output = memoryOutput();
  await compress(await nodeFolder(SAMPLE_MODEL), output, { gpu, format });
  const original = await openCheckpoint(await nodeFolder(SAMPLE_MODEL));
  const compressed = await openCheckpoint(memoryFolder(format, Object.fromEntries(output.files)));
  const tokens = sampleTokens('validation');
  const { accuracy } = await verify(original, compressed, { gpu, tokens, windows: 16, speed: false });
  await Promise.all([original.close(), compressed.close()]);
  const { original: dense, compressed: after, control } = accuracy!.perplexity;
  const increase = after! / dense - 1;
  return {
    claim: `${format}: perplexity increase`,
    threshold: `under ${100 * MOST[format]}%; control at least 100 times the original's perplexity`,
    measured: `${(100 * increase).toFixed(3)}%, rows shuffled ${(control! / dense).toFixed(0)}x`,
    pass: increase < MOST[format] && control! / dense > 100,
  };
}
