import {
  allocateWeight,
  type BufferView,
  bootstrapInterval,
  copyStep,
  formatByName,
  type Gpu,
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
 * steps. Eight matrices follow each other, so that none stays in a cache; copying the same eight takes turns with it. Nothing is allocated or freed in between: the
 * host is busy for a while with memory that goes.
 */
export const claim: Claim = {
  name: 'sparse packing',
  async measure(gpu) {
    const pattern: SparsePattern = { kind: 'n:m', keep: 2, of: 4 };
    const f32 = formatByName('f32');
    const weights = await makeWeights(gpu, 'f32', SIZE);
    const measurements = [];
    const room = (bytes: number): BufferView => ({ buffer: gpu.memory.allocate(bytes), size: bytes });
    const matrixBytes = 4 * SIZE ** 2;
    const target = room(matrixBytes);
    const copies = weights.map(({ parts }) => copyStep(parts[0]!.arrays[0]!.buffer, target.buffer, matrixBytes));
    const copying = await gpu.scheduler.record(copies, 'copying');
    await seconds(gpu, copying);
    for (const name of ['f32', 'f16']) {
      const format = formatByName(name);
      const packed = allocateWeight(gpu, packedFormat(format, pattern), SIZE, SIZE, 'packed');
      const [values, columns] = packed.parts[0]!.arrays;
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
        const copied = (2 * matrixBytes * copies.length) / (await seconds(gpu, copying));
        shares.push(bytes / (await seconds(gpu, chain)) / copied);
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
    copying.release();
    gpu.memory.release(target.buffer);
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
