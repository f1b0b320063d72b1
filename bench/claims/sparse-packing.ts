import {
  allocateWeight,
  type BufferView,
  bootstrapInterval,
  formatByName,
  type Gpu,
  measureCopyBandwidth,
  median,
  type Step,
} from 'compressa';
import { packedFormat, packLargestSteps, type SparsePattern } from 'compressa/sparse';
import type { Claim } from '../claim.ts';
import { makeWeights } from '../products.ts';

const SIZE = 4096;
const PAIRS = Number(process.env.COMPRESSA_PAIRS ?? 15);
const FLOOR = 0.4;

/**
 * Choosing and packing what 2:4 leaves of f32 weights, of the device's copy bandwidth: the weights read once and the packed ones written once over the time of the
 * steps. Eight matrices follow each other, so that none stays in a cache.
 */
export const claim: Claim = {
  name: 'sparse packing',
  async measure(gpu) {
    const pattern: SparsePattern = { kind: 'n:m', keep: 2, of: 4 };
    const f32 = formatByName('f32');
    const weights = await makeWeights(gpu, 'f32', SIZE);
    const measurements = [];
    for (const name of ['f32', 'f16']) {
      const format = formatByName(name);
      const packed = allocateWeight(gpu, packedFormat(format, pattern), SIZE, SIZE, 'packed');
      const [values, columns] = packed.parts[0]!.arrays;
      const room = (bytes: number): BufferView => ({ buffer: gpu.memory.allocate(bytes), size: bytes });
      const bad = room(4);
      const steps = weights.flatMap((weight): Step[] => {
        const of = { source: f32, from: weight.parts[0]!.arrays[0]!, rows: SIZE, k: SIZE, bad };
        const arrays = { format, pattern, values: [values!], columns: columns! };
        return packLargestSteps({ ...arrays, ...of });
      });
      const bytes = weights.reduce((sum, { byteLength }) => sum + byteLength + packed.byteLength, 0);
      const chain = await gpu.scheduler.record(steps, 'packing');
      await seconds(gpu, chain);
      const shares: number[] = [];
      for (let i = 0; i < PAIRS; i++) {
        const copy = await measureCopyBandwidth(gpu, 3);
        shares.push(bytes / (await seconds(gpu, chain)) / 1e9 / copy);
      }
      const [low, high] = bootstrapInterval(shares);
      measurements.push({
        claim: `2:4 chosen and packed, ${SIZE}x${SIZE} from f32 to ${name}, of copy bandwidth`,
        threshold: `at least ${FLOOR}`,
        measured: `${median(shares).toFixed(2)} (95%: ${low.toFixed(2)} to ${high.toFixed(2)})`,
        pass: low >= FLOOR,
      });
      chain.release();
      packed.release();
      gpu.memory.release(bad.buffer);
    }
    for (const weight of weights) weight.release();
    return measurements;
  },
};

async function seconds(gpu: Gpu, chain: { submit(): void }): Promise<number> {
  const start = performance.now();
  chain.submit();
  await gpu.idle();
  return (performance.now() - start) / 1000;
}
