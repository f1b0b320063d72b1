import { ArgumentError } from '../../../src/errors.ts';
import type { Format } from '../../../src/formats/format.ts';
import { formatBytes } from '../../../src/formats/layout.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import { quantizeRow } from '../../../src/formats/w8a8.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { packParams, read, readWrite, type Step } from '../../../src/gpu/kernel.ts';
import { randomUniform } from '../../../src/graph/reference/random.ts';
import { dequantizeStep } from '../../../src/kernels/quantize.ts';
import { allocateWeight, readWeight, type Weight } from '../../../src/kernels/weight.ts';
import { fillWeight, WeightMaker } from '../../../src/verify/synthetic-weights.ts';
import { releaseWeights } from '../../../src/verify/with-decoder.ts';
import { Buffers } from '../buffers.ts';
import { chainLength } from '../chain.ts';
import type { Contestant, LinearWork, Prepared, Traffic, Work } from '../contestant.ts';
import registerTileSource from '../kernels/register_tile.wgsl';
import { MODEL_SHAPES, matricesOf } from '../model-shapes.ts';
import { ourLinear, type Product } from '../our-linear.ts';
import { readFloats, recorded } from '../recorded.ts';
import type { Case, OpenCase, Suite, SuiteContext } from '../suite.ts';

export const FORMATS = ['f32', 'f16', 'q8_0', 'q4_0', 'q4_k', 'int4-g64-asym', 'nf4', 'w8a8'] as const;
const BATCHES = [1, 4, 16, 128] as const;
const QUICK_FORMATS = ['f32', 'q8_0', 'q4_0', 'q4_k'] as const;
const QUICK_BATCHES = [1, 16, 128] as const;
/** Rows and columns of the dense product that a plain register tile is timed against. */
const SQUARE = 1024;

export const DENSE = 'dense f32';
export const REGISTER_TILE = 'register tile';

/** What a product has to read, write and compute. */
const trafficOf = (format: Format, n: number, k: number, batch: number): Traffic => ({
  bytes: formatBytes(format, n, k) + 4 * batch * (n + k),
  operations: 2 * n * k * batch,
  ...(format.activations && { arithmetic: 'i8' as const }),
});

/** Numbers of -1 to 1: the same seed, the same numbers. */
export const uniform = (seed: number, count: number): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: count }, (_, i) => 2 * randomUniform(seed, i) - 1);

/** A product of one format and shape. */
export function linearCase(name: string, n: number, k: number, batch: number): Case {
  const format = formatByName(name);
  const square = name === 'f32' && n === SQUARE && k === SQUARE && batch === SQUARE;
  const traffic = trafficOf(format, n, k, batch);
  return {
    suite: 'linear',
    name: `${name} ${n}x${k} batch ${batch}`,
    dimensions: { format: name, n, k, batch },
    ...traffic,
    baseline: square ? REGISTER_TILE : DENSE,
    open: (context) => openLinear(context, { format, n, k, batch, traffic, square }),
  };
}

interface Shape {
  readonly format: Format;
  readonly n: number;
  readonly k: number;
  readonly batch: number;
  readonly traffic: Traffic;
  readonly square: boolean;
}

async function openLinear(context: SuiteContext, shape: Shape): Promise<OpenCase> {
  const { gpu } = context;
  const { format, n, k, batch, traffic, square } = shape;
  const maker = new WeightMaker(gpu, context.signal);
  const buffers = new Buffers(gpu);
  const release = () => {
    buffers.release();
    dense.release();
    maker.release();
  };
  const block = await maker.block(format, k);
  // All multiply with what the format stores, so that all can be held to one reference.
  const dense = allocateWeight(gpu, formatByName('f32'), block.rows, k, 'expanded');
  await gpu.scheduler.run([
    dequantizeStep({
      ...{ format, from: block.parts[0]!.arrays, target: dense.format, to: dense.parts[0]!.arrays[0]! },
      ...{ rows: block.rows, k, bad: buffers.room(4, 'bad') },
    }),
  ]);
  const rows = await readFloats(gpu, dense.parts[0]!.arrays[0]!.buffer, block.rows * k);
  const x = uniform(7, batch * k);
  const product: Product = { x: buffers.filled(x, 'x'), y: buffers.room(4 * batch * n, 'y'), batch };
  const count = chainLength(traffic, context);
  const copies = copiesOf(context, format, n, k);
  const work: LinearWork = {
    ...{ kind: 'linear', format: format.name, n, k, batch, count, copies, x },
    weights: async () => {
      const all = new Float32Array(n * k);
      for (let at = 0; at < all.length; at += rows.length) all.set(rows.subarray(0, all.length - at), at);
      return all;
    },
    stored: async () => {
      const one = allocateWeight(gpu, format, n, k, 'stored');
      try {
        fillWeight(gpu, one, block);
        return await readWeight(gpu, one);
      } finally {
        one.release();
      }
    },
  };
  const turns = (source: Weight, distinct: number) => weightTurns(context, source, n, distinct, count, product);
  const ours: Contestant = {
    name: 'ours',
    note: `${count} products in one submit, over ${copies} copies of the weight; x and y stay on the device`,
    prepare: () => turns(block, copies),
  };
  const wide: Contestant = {
    name: DENSE,
    note: 'ours, with the same weights in f32',
    prepare: async () => ({
      ...(await turns(dense, copiesOf(context, dense.format, n, k))),
      traffic: { ...trafficOf(dense.format, n, k, batch), arithmetic: 'f32' },
      // It does not round x to eight bits, as the reference of such formats does.
      ...(format.activations && { tolerance: 2 ** -7 }),
    }),
  };
  return {
    work,
    contestants: [
      ours,
      ...(format.name === 'f32' ? [] : [wide]),
      ...(square ? [registerTile(gpu, block, product, n, k)] : []),
    ],
    reference: { error: errorOf(rows, x, { n, k, batch }, format), tolerance: (k + 8) * 2 ** -24 },
    release,
  };
}

/** Copies of a weight that together exceed the cache, as far as the memory's budget allows. */
function copiesOf({ cycledBytes, gpu }: SuiteContext, format: Format, n: number, k: number): number {
  const bytes = formatBytes(format, n, k);
  const affordable = Math.floor((gpu.memory.budget - gpu.memory.bytesInUse) / 3 / bytes);
  return Math.max(1, Math.min(Math.ceil(cycledBytes / bytes), affordable));
}

/** Ours, with copies of the weight that take turns. */
async function weightTurns(
  { gpu, tuner }: SuiteContext,
  block: Weight,
  n: number,
  copies: number,
  count: number,
  product: Product,
): Promise<Prepared> {
  const { k, format } = block;
  const room = new Buffers(gpu);
  const made: Weight[] = [];
  const release = () => {
    releaseWeights(made);
    room.release();
  };
  try {
    await gpu.guard('Copies of a weight', () => {
      for (let i = 0; i < copies; i++) {
        const weight = allocateWeight(gpu, format, n, k, `copy ${i}`);
        made.push(weight);
        fillWeight(gpu, weight, block);
      }
    });
    await tuner?.prepare([{ kind: 'linear', format, rows: n, k, tokens: product.batch }]);
    const steps = made.map(ourLinear(gpu, room, product, tuner));
    return await recorded(gpu, runsOf(steps, count), {
      check: async () => {
        await gpu.scheduler.run(steps[0]!);
        return readFloats(gpu, product.y.buffer, product.batch * n);
      },
      release,
    });
  } catch (error) {
    release();
    throw error;
  }
}

/** As many runs of `count` products as take every copy's turn. */
export function runsOf(products: readonly (readonly Step[])[], count: number): Step[][] {
  const runs = Math.ceil(products.length / count);
  return Array.from({ length: runs }, (_, run) =>
    Array.from({ length: count }, (_, i) => products[(run * count + i) % products.length]!).flat(),
  );
}

/** The baseline of the dense product, over one copy: at this size arithmetic decides. */
function registerTile(gpu: Gpu, block: Weight, { x, y, batch }: Product, n: number, k: number): Contestant {
  return {
    name: REGISTER_TILE,
    note: '8 x 8 outputs a thread, no workgroup memory: the plainest kernel that keeps the arithmetic busy',
    async prepare(work: Work) {
      const weight = allocateWeight(gpu, block.format, n, k, 'register tile');
      fillWeight(gpu, weight, block);
      const step: Step = {
        label: REGISTER_TILE,
        kernel: { source: registerTileSource },
        bindings: [read(x), read(weight.parts[0]!.arrays[0]!), readWrite(y)],
        params: packParams(n, k, batch),
        grid: [n / 64, batch / 64, 1],
      };
      return recorded(gpu, runsOf([[step]], work.count), {
        check: async () => {
          await gpu.scheduler.run([step]);
          return readFloats(gpu, y.buffer, batch * n);
        },
        release: () => weight.release(),
      });
    },
  };
}

/** Outputs that are held to the reference: all tokens of some rows would take long on the host. */
const SAMPLED = 96;

/** The largest error of an output, over Σ|w x|: what roundings of a sum in f32 are bounded by, in any order. */
function errorOf(
  rows: Float32Array,
  x: Float32Array,
  { n, k, batch }: { n: number; k: number; batch: number },
  format: Format,
): (output: Float32Array) => number {
  const given = format.activations ? roundedRows(x, k) : x;
  const blockRows = rows.length / k;
  return (output) => {
    if (output.length !== batch * n) throw new ArgumentError(`It made ${output.length} values, not ${batch} x ${n}.`);
    let worst = 0;
    for (let i = 0; i < SAMPLED; i++) {
      // Corners, and places all over.
      const row = i === 0 ? 0 : i === 1 ? n - 1 : Math.floor(randomUniform(1, i) * n);
      const token = i === 1 ? batch - 1 : i % batch;
      const [w, v] = [(row % blockRows) * k, token * k];
      let [sum, magnitude] = [0, 0];
      for (let j = 0; j < k; j++) {
        const term = rows[w + j]! * given[v + j]!;
        sum += term;
        magnitude += Math.abs(term);
      }
      const error = Math.abs(output[token * n + row]! - sum) / magnitude;
      // NaN is the worst of all.
      if (!(error <= worst)) worst = Number.isNaN(error) ? Number.POSITIVE_INFINITY : error;
    }
    return worst;
  };
}

/** x as formats see it that multiply integers. */
function roundedRows(x: Float32Array, k: number): Float32Array {
  const codes = new Int8Array(k);
  const result = new Float32Array(x.length);
  for (let at = 0; at < x.length; at += k) {
    const scale = quantizeRow(x.subarray(at, at + k), codes);
    for (let i = 0; i < k; i++) result[at + i] = scale * codes[i]!;
  }
  return result;
}

/** Matrices of a layer over formats, sizes of models and batches. */
export const linearSuite: Suite = {
  name: 'linear',
  title: 'Products with weights',
  cases: ({ quick }) => {
    const shapes = quick ? matricesOf(MODEL_SHAPES['1B']).slice(0, 1) : Object.values(MODEL_SHAPES).flatMap(matricesOf);
    const distinct = [...new Map(shapes.map((shape) => [shape.join(), shape])).values()];
    const [formats, batches] = quick ? [QUICK_FORMATS, QUICK_BATCHES] : [FORMATS, BATCHES];
    return [
      linearCase('f32', SQUARE, SQUARE, SQUARE),
      ...distinct.flatMap(([n, k]) =>
        batches.flatMap((batch) => formats.map((format) => linearCase(format, n, k, batch))),
      ),
    ];
  },
};
