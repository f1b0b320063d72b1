import {
  allocateWeight,
  applyMaskStep,
  type BufferView,
  bootstrapInterval,
  formatByName,
  type Gpu,
  type MaskPattern,
  maskRoom,
  maskWords,
  median,
  quantizeStep,
  SELECTION_BYTES,
  type Step,
  selectMaskSteps,
  type Weight,
} from 'compressa';
import {
  allocateBlocks,
  type BlockWeight,
  blockLayout,
  blockLinearSteps,
  blockVariantsFor,
  gatherBlocksStep,
  listBlocks,
  packedFormat,
  packSparseStep,
  sparseLinearSteps,
  sparseVariantsFor,
} from 'compressa/sparse';
import type { Claim, Measurement } from '../claim.ts';
import { inPairs } from '../in-pairs.ts';
import { onnxWeight } from '../onnx-weights.ts';
import { openOnnxRuntime } from '../peers/onnx-runtime.ts';
import { type Chain, makeInput, makeWeights, openChain, openProducts, PRODUCTS, type Product } from '../products.ts';

const SIZE = 4096;
/** `COMPRESSA_PAIRS=3` for a first look. */
const PAIRS = Number(process.env.COMPRESSA_PAIRS ?? 15);
const ONNX_PAIRS = 5;

/** Distance to dense products with the same weights, relative to their size: of sums in f32. Codes have other neighbours where weights are packed. */
const EXACT = 1e-4;
const ROUNDED = 0.5;

interface Case {
  readonly format: string;
  readonly tokens: number;
  readonly pattern: MaskPattern;
  /** Undefined: reported, whatever it is. */
  readonly floor?: number;
  /** The same on devices that do not compute on a CPU. */
  readonly floorOfGpus?: number;
}

const group = { kind: 'n:m', keep: 2, of: 4 } as const;
const blocks = { kind: 'ranked', rows: 32, columns: 32, scope: 'layer', remove: { fraction: 0.75 } } as const;

/** By the names that `npm run claims -- sparse-products <names>` takes. */
const CASES: Readonly<Record<string, Case>> = {
  'f32:1': { format: 'f32', tokens: 1, pattern: group, floor: 1.3 },
  'f16:1': { format: 'f16', tokens: 1, pattern: group, floor: 1.3 },
  'q4_0:1': { format: 'q4_0', tokens: 1, pattern: group, floorOfGpus: 1.15 },
  'f32:128': { format: 'f32', tokens: 128, pattern: { ...group, rows: 16 }, floor: 1.3 },
  'f16:128': { format: 'f16', tokens: 128, pattern: { ...group, rows: 16 }, floor: 1.3 },
  'blocks-f32:128': { format: 'f32', tokens: 128, pattern: blocks, floor: 2.5 },
  'blocks-f16:128': { format: 'f16', tokens: 128, pattern: blocks, floor: 2.5 },
  'blocks-q4_0:128': { format: 'q4_0', tokens: 128, pattern: blocks, floor: 2.5 },
  'blocks-f32:1': { format: 'f32', tokens: 1, pattern: blocks },
};

/**
 * Products with weights of which 2:4 or a quarter of the blocks are left, over those with dense weights of the same format, each in its fastest variant: eight that
 * follow each other, each with a weight of its own, so that none stays in a cache. Ratios are the dense time over the sparse one, of pairs in alternating order.
 */
export const claim: Claim = {
  name: 'sparse products',
  async *measure(gpu, takes): AsyncIterable<Measurement> {
    for (const [name, one] of Object.entries(CASES)) {
      if (!takes(name)) continue;
      const pairs: Pair[] = [];
      for (const weight of await makeWeights(gpu, 'f32', SIZE)) pairs.push(await makePair(gpu, weight, one));
      yield await compare(gpu, pairs, one);
      for (const { dense, sparse } of pairs) for (const weight of [dense, sparse]) weight.release();
    }
  },
};

/** A weight without what a pattern removes: with zeros in its place, and without. */
interface Pair {
  readonly dense: Weight;
  readonly sparse: Weight | BlockWeight;
}

/** Takes an f32 weight. */
async function makePair(gpu: Gpu, from: Weight, { format: name, pattern }: Case): Promise<Pair> {
  const { rows, k, format: f32 } = from;
  const format = formatByName(name);
  const buffers: GPUBuffer[] = [];
  const room = (bytes: number): BufferView => {
    const buffer = gpu.memory.allocate(bytes);
    buffers.push(buffer);
    return { buffer, size: bytes };
  };
  const run = (steps: readonly Step[]) => gpu.scheduler.run(steps);
  const data = from.parts[0]!.arrays[0]!;
  const [mask, bad] = [room(4 * maskWords(rows, k)), room(4)];
  const sizes = Object.entries(maskRoom(pattern, rows, k)).filter(([, bytes]) => bytes > 0);
  const matrix = { source: f32, from: data, rows, k, bad, mask };
  const [selection, totals, counts] = Object.values(SELECTION_BYTES).map(room);
  await run([
    ...selectMaskSteps({
      matrices: [{ ...matrix, room: Object.fromEntries(sizes.map(([name, bytes]) => [name, room(bytes)])) }],
      pattern,
      room: { selection: selection!, totals: totals!, counts: counts! },
    }),
    applyMaskStep({ format: f32, data, mask, rows, k }),
  ]);
  /** Values that were gathered, in the format. */
  const quantized = (values: BufferView, to: readonly BufferView[], rows: number, k: number) =>
    quantizeStep({ source: f32, from: values, format, to, rows, k, bad });
  let dense = from;
  if (format !== f32) {
    dense = allocateWeight(gpu, format, rows, k, 'dense');
    await run([quantized(data, dense.parts[0]!.arrays, rows, k)]);
  }
  let sparse: Pair['sparse'];
  if (pattern.kind === 'n:m') {
    const packed = packedFormat(format, pattern);
    sparse = allocateWeight(gpu, packed, rows, k, 'packed');
    const { slots } = packed.packed!.layout(rows, k);
    const arrays = sparse.parts[0]!.arrays;
    const values = room(4 * rows * slots);
    const of = { source: f32, from: data, mask, pattern, rows, k, format: f32, becomes: format };
    await run([
      packSparseStep({ ...of, values: [values], columns: arrays.at(-1)! }),
      quantized(values, arrays.slice(0, -1), rows, slots),
    ]);
  } else {
    const bits = new Uint32Array((await gpu.readBack(mask.buffer, 0, 4 * maskWords(rows, k))).buffer);
    const layout = blockLayout(pattern, format, rows, k);
    const lists = listBlocks(bits, rows, k, layout);
    sparse = allocateBlocks(gpu, pattern, format, { rows, k }, lists, 'blocks');
    const { kept, slots } = { kept: sparse.kept, slots: layout.slots };
    const ids = Array.from({ length: layout.down }, (_, row) =>
      Array.from(
        lists.columns.subarray(lists.rowStarts[row], lists.rowStarts[row + 1]),
        (column) => row * layout.across + column,
      ),
    ).flat();
    const list = room(4 * kept);
    gpu.upload(list.buffer, new Uint8Array(Uint32Array.from(ids).buffer));
    const values = room(4 * kept * slots);
    await run([
      gatherBlocksStep({ from: data, blocks: list, to: values, layout, rows, k, kept }),
      quantized(values, sparse.parts[0]!.values, kept, slots),
    ]);
  }
  await gpu.idle();
  if (dense !== from) from.release();
  for (const buffer of buffers) gpu.memory.release(buffer);
  return { dense, sparse };
}

async function compare(
  gpu: Gpu,
  pairs: readonly Pair[],
  { format, tokens, pattern, floor: always, floorOfGpus }: Case,
): Promise<Measurement> {
  const floor = gpu.description.software ? always : (floorOfGpus ?? always);
  const x = makeInput(tokens * SIZE);
  const dense = pairs.map((pair) => pair.dense);
  const products = pairs.map(
    ({ sparse }): Product =>
      (args) =>
        'layout' in sparse
          ? blockLinearSteps({ ...args, weight: sparse, tokens })
          : sparseLinearSteps({ ...args, weight: sparse, tokens }),
  );
  const [{ sparse: first }] = pairs as [Pair];
  const variants =
    'layout' in first
      ? blockVariantsFor(gpu, first.layout)
      : sparseVariantsFor(gpu, first.format.packed!.layout(SIZE, SIZE));
  const ours = await openProducts(
    gpu,
    products,
    variants.map(({ name }) => name),
    tokens,
    x,
  );
  const theirs = await openChain(gpu, dense, tokens, x);
  const shared = pattern.kind === 'n:m' && (pattern.rows ?? 1) > 1 ? ` shared by ${pattern.rows} rows` : '';
  const left =
    pattern.kind === 'n:m' ? `2:4${shared}` : `blocks of ${pattern.rows}x${pattern.columns}, three of four gone`;
  const what = `${left}, ${format} ${SIZE}x${SIZE}, ${tokens} tokens`;
  const error = relativeDistance(await ours.output(), await theirs.output());
  if (!(error <= (formatByName(format).kind === 'dense' || pattern.kind === 'ranked' ? EXACT : ROUNDED))) {
    return { claim: what, threshold: 'right products', measured: `off by ${error.toExponential(2)}`, pass: false };
  }
  const { ratios, times } = await timed(ours, theirs, PAIRS);
  const [low, high] = bootstrapInterval(ratios);
  const beside = await overOnnx(gpu, dense, theirs, tokens, x);
  for (const chain of [ours, theirs]) chain.release();
  const each = (values: readonly number[]) => `${(median(values) / PRODUCTS).toFixed(2)} ms`;
  return {
    claim: `${what} (${ours.variant}) over dense (${theirs.variant})`,
    threshold: floor === undefined ? 'reported' : `at least ${floor}x`,
    measured: `${median(ratios).toFixed(2)} (95%: ${low.toFixed(2)} to ${high.toFixed(2)}; ${each(times.ours)} and ${each(times.theirs)})${beside}`,
    pass: floor === undefined || low >= floor,
  };
}

/** How far our dense product is ahead of ONNX Runtime's, with the same weights. */
async function overOnnx(
  gpu: Gpu,
  dense: readonly Weight[],
  ours: Chain,
  tokens: number,
  x: Float32Array,
): Promise<string> {
  const ort = openOnnxRuntime();
  if (typeof ort === 'string') return '; ONNX Runtime is not there';
  const weights = [];
  for (const weight of dense) weights.push(await onnxWeight(gpu, weight));
  const chain = await ort.open(weights, { tokens, size: SIZE, accuracy: 0 }, x);
  const { ratios } = await timed(ours, chain, ONNX_PAIRS);
  await chain.release();
  const theirs = dense[0]!.format.name === 'f16' ? ' with the same weights in f32' : '';
  return `; our dense product over ONNX Runtime's${theirs}: ${median(ratios).toFixed(2)}`;
}

interface Timed {
  run(): Promise<unknown>;
}

/** Their time over ours, of pairs in alternating order. */
async function timed(ours: Timed, theirs: Timed, pairs: number) {
  const [a, b] = await inPairs(
    pairs,
    () => milliseconds(ours),
    () => milliseconds(theirs),
  );
  const times = { ours: a, theirs: b };
  return { times, ratios: times.ours.map((time, i) => times.theirs[i]! / time) };
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

async function milliseconds(chain: Timed): Promise<number> {
  const start = performance.now();
  await chain.run();
  return performance.now() - start;
}
