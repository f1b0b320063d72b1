import {
  applyMaskStep,
  type BufferView,
  bootstrapInterval,
  type Gpu,
  maskRoom,
  maskWords,
  median,
  selectMaskSteps,
  type Weight,
} from 'compressa';
import {
  allocateSparse,
  packSparseStep,
  type SparsePattern,
  type SparseWeight,
  sparseLinearSteps,
  sparseVariantsFor,
} from 'compressa/sparse';
import type { Claim, Measurement } from '../claim.ts';
import { type Chain, makeInput, makeWeights, openChain, openProducts, PRODUCTS, type Product } from '../products.ts';

const SIZE = 4096;
/** `COMPRESSA_PAIRS=3` for a first look. */
const PAIRS = Number(process.env.COMPRESSA_PAIRS ?? 15);
const FLOOR = 1.3;

/** Distance to dense products with the same weights, relative to their size: of sums in f32. */
const EXACT = 1e-4;

/** Values, rows that share a pattern, tokens. */
const CASES = [
  { format: 'f32', band: 1, tokens: 1 },
  { format: 'f16', band: 1, tokens: 1 },
  { format: 'f32', band: 16, tokens: 128 },
  { format: 'f16', band: 16, tokens: 128 },
] as const;

/**
 * Products with 2:4 weights, packed, over those with dense weights of the same format, each in its fastest variant: eight that follow each other, each with a weight
 * of its own, so that none stays in a cache. Ratios are the dense time over the packed one, of pairs in alternating order.
 */
export const claim: Claim = {
  name: 'sparse products',
  async measure(gpu, takes) {
    const measurements: Measurement[] = [];
    for (const { format, band, tokens } of CASES) {
      if (!takes(`${format}:${tokens}`)) continue;
      const dense = await makeWeights(gpu, format, SIZE);
      const packed: SparseWeight[] = [];
      for (const weight of dense) packed.push(await pack(gpu, weight, { kind: 'n:m', keep: 2, of: 4, rows: band }));
      measurements.push(await compare(gpu, dense, packed, tokens));
      for (const weight of [...dense, ...packed]) weight.release();
    }
    return measurements;
  },
};

/** What a pattern leaves of a dense weight, in which zeros take the place of the rest. */
async function pack(gpu: Gpu, weight: Weight, pattern: SparsePattern): Promise<SparseWeight> {
  const { format, rows, k } = weight;
  const buffers: GPUBuffer[] = [];
  const room = (bytes: number): BufferView => {
    const buffer = gpu.memory.allocate(bytes);
    buffers.push(buffer);
    return { buffer, size: bytes };
  };
  const sparse = allocateSparse(gpu, pattern, format, rows, k, 'packed');
  const from = weight.parts[0]!.arrays[0]!;
  const mask = room(4 * maskWords(rows, k));
  const sizes = Object.entries(maskRoom(pattern, rows, k)).filter(([, bytes]) => bytes > 0);
  const keys = { source: format, from, rows, k, bad: room(4), mask };
  const matrix = { ...keys, room: Object.fromEntries(sizes.map(([name, bytes]) => [name, room(bytes)])) };
  const arrays = { format, values: sparse.values.parts[0]!.arrays, columns: sparse.columns[0]!, pattern, rows, k };
  await gpu.scheduler.run([
    ...selectMaskSteps({ matrices: [matrix], pattern }),
    packSparseStep({ ...arrays, source: format, from, mask }),
    applyMaskStep({ format, data: from, mask, rows, k }),
  ]);
  await gpu.idle();
  for (const buffer of buffers) gpu.memory.release(buffer);
  return sparse;
}

async function compare(
  gpu: Gpu,
  dense: readonly Weight[],
  packed: readonly SparseWeight[],
  tokens: number,
): Promise<Measurement> {
  const x = makeInput(tokens * SIZE);
  const { format } = dense[0]!;
  const { layout } = packed[0]!;
  const products = packed.map(
    (weight): Product =>
      (args) =>
        sparseLinearSteps({ ...args, weight, tokens }),
  );
  const names = sparseVariantsFor(gpu, layout).map(({ name }) => name);
  const ours = await openProducts(gpu, products, names, tokens, x);
  const theirs = await openChain(gpu, dense, tokens, x);
  const { band } = layout;
  const what = `2:4${band > 1 ? ` shared by ${band} rows` : ''}, ${format.name} ${SIZE}x${SIZE}, ${tokens} tokens`;
  const error = relativeDistance(await ours.output(), await theirs.output());
  if (!(error <= EXACT)) {
    return { claim: what, threshold: 'right products', measured: `off by ${error.toExponential(2)}`, pass: false };
  }
  const times = { ours: [] as number[], theirs: [] as number[] };
  for (let i = 0; i < PAIRS; i++) {
    const order = [
      async () => times.ours.push(await milliseconds(ours)),
      async () => times.theirs.push(await milliseconds(theirs)),
    ];
    for (const take of i % 2 === 0 ? order : order.reverse()) await take();
  }
  const ratios = times.ours.map((time, i) => times.theirs[i]! / time);
  const [low, high] = bootstrapInterval(ratios);
  for (const chain of [ours, theirs]) chain.release();
  const each = (values: readonly number[]) => `${(median(values) / PRODUCTS).toFixed(2)} ms`;
  return {
    claim: `${what} (${ours.variant}) over dense (${theirs.variant})`,
    threshold: `at least ${FLOOR}x`,
    measured: `${median(ratios).toFixed(2)} (95%: ${low.toFixed(2)} to ${high.toFixed(2)}; ${each(times.ours)} and ${each(times.theirs)})`,
    pass: low >= FLOOR,
  };
}

/** ‖a − b‖ / ‖b‖ */
function relativeDistance(a: Float32Array, b: Float32Array): number {
  let difference = 0;
  let size = 0;
  for (const [i, value] of b.entries()) {
    difference += (a[i]! - value) ** 2;
    size += value ** 2;
  }
  return Math.sqrt(difference / size);
}

async function milliseconds(chain: Chain): Promise<number> {
  const start = performance.now();
  await chain.run();
  return performance.now() - start;
}
