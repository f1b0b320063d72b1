import { type Format, isSparse } from '../../../src/formats/format.ts';
import { formatBytes } from '../../../src/formats/layout.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { packParams, read, readWrite, type Step } from '../../../src/gpu/kernel.ts';
import { Scratch } from '../../../src/gpu/scratch.ts';
import { randomUniform } from '../../../src/graph/reference/random.ts';
import { loadPackedProducts } from '../../../src/kernels/packed-products.ts';
import { dequantizeStep } from '../../../src/kernels/quantize.ts';
import { allocateWeight, readWeight, uploadWeight, type Weight } from '../../../src/kernels/weight.ts';
import { fillWeight, WeightMaker } from '../../../src/verify/synthetic-weights.ts';
import { releaseWeights } from '../../../src/verify/with-decoder.ts';
import { withBuffers } from '../buffers.ts';
import { chainLength } from '../chain.ts';
import type { Contestant, LinearWork, Prepared, Traffic, Work } from '../contestant.ts';
import registerTileSource from '../kernels/register_tile.wgsl';
import { outputError, roundedRows } from '../linear-error.ts';
import { ALL_FORMS, type LinearForm, linearForm, linearTraffic } from '../linear-forms.ts';
import { MODEL_SHAPES, matricesOf } from '../model-shapes.ts';
import { DENSE, OURS } from '../names.ts';
import { INPUT_BLOCK, ourLinear, type Product } from '../our-linear.ts';
import { freshOutput, readFloats, recorded } from '../recorded.ts';
import type { Case, OpenCase, Suite, SuiteContext } from '../suite.ts';

export const FORMATS = ['f32', 'f16', 'q8_0', 'q4_0', 'q4_k', 'int4-g64-asym', 'nf4', 'w8a8'] as const;
const BATCHES = [1, 4, 16, 128] as const;
const QUICK_FORMATS = ['f32', 'q8_0', 'q4_0', 'q4_k'] as const;
const QUICK_BATCHES = [1, 16, 128] as const;
/** Rows, columns and tokens of the dense product that the suite times against a plain register tile. */
const SQUARE = 1024;
/** Rows and tokens of a workgroup of that tile, which has no edges. */
const TILE = 64;

/** Of |w x|: both factors are rounded to f16, their product, and 32 sums (test/gpu/linear.test.ts). */
const HALF_ERROR = 35 * 2 ** -11;

export const REGISTER_TILE = 'register tile';

/** Numbers of -1 to 1: the same seed, the same numbers. */
export const uniform = (seed: number, count: number): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: count }, (_, i) => 2 * randomUniform(seed, i) - 1);

/** A product of one form and shape. */
export function linearCase(name: string, n: number, k: number, batch: number): Case {
  const form = linearForm(name, n, k);
  const square = name === 'f32' && n === k && k === batch && n % TILE === 0;
  const traffic = linearTraffic(form, n, k, batch);
  return {
    suite: 'linear',
    name: `${name} ${n}x${k} batch ${batch}`,
    dimensions: { format: name, n, k, batch },
    ...traffic,
    baseline: square ? REGISTER_TILE : DENSE,
    open: (context) =>
      withBuffers(context.gpu, (buffers) => openLinear(context, buffers, { ...form, n, k, batch, traffic, square })),
  };
}

interface Shape extends LinearForm {
  readonly n: number;
  readonly k: number;
  readonly batch: number;
  readonly traffic: Traffic;
  readonly square: boolean;
}

async function openLinear(context: SuiteContext, buffers: Scratch, shape: Shape): Promise<OpenCase> {
  const maker = new WeightMaker(context.gpu, context.signal);
  const made: Weight[] = [];
  const release = () => {
    releaseWeights(made.splice(0));
    maker.release();
  };
  try {
    const opened = await openProduct(context, { buffers, maker, made }, shape);
    return {
      ...opened,
      release: () => {
        buffers.release();
        release();
      },
    };
  } catch (error) {
    release();
    throw error;
  }
}

interface Room {
  readonly buffers: Scratch;
  readonly maker: WeightMaker;
  /** Weights to release behind the case. */
  readonly made: Weight[];
}

async function openProduct(
  context: SuiteContext,
  { buffers, maker, made }: Room,
  { format, rounding, n, k, batch, traffic, square }: Shape,
): Promise<Omit<OpenCase, 'release'>> {
  const { gpu } = context;
  await loadPackedProducts([format]);
  const block = await maker.block(format, k);
  // All multiply with what the format stores, so that all can be held to one reference.
  const { rows, dense } = await expand(gpu, block, buffers);
  made.push(dense);
  const x = uniform(7, batch * k);
  const product: Product = { x: buffers.upload(x, 'x'), y: buffers.room(4 * batch * n, 'y'), batch };
  // What rounds inputs to integers is held to those.
  const given = format.activations ? roundedRows(x, k) : rounding === 'int8 inputs' ? roundedRows(x, INPUT_BLOCK) : x;
  const count = chainLength(traffic, context);
  const copies = copiesOf(context, format, n, k);
  const work: LinearWork = {
    ...{ kind: 'linear', format: format.name, n, k, batch, count, copies, x },
    ...(rounding && { rounding }),
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
  const turns = (source: Weight, distinct: number, how: Product) =>
    weightTurns(context, source, n, distinct, count, how);
  const ours: Contestant = {
    name: OURS,
    note: `${count} products in one submit, over ${copies} copies of the weight; x and y stay on the device${rounding ? `; ${rounding}` : ''}`,
    prepare: () => turns(block, copies, { ...product, rounding }),
  };
  const wide: Contestant = {
    name: DENSE,
    note: 'ours, with the same weights in f32',
    prepare: async () => ({
      ...(await turns(dense, copiesOf(context, dense.format, n, k), product)),
      traffic: { ...linearTraffic({ format: dense.format }, n, k, batch), arithmetic: 'f32' },
      // It does not round x to eight bits, as the reference of such forms does.
      ...(given !== x && { tolerance: 2 ** -7 }),
    }),
  };
  return {
    work,
    contestants: [
      ours,
      ...(format.name === 'f32' && !rounding ? [] : [wide]),
      ...(square ? [registerTile(gpu, block, product, n, k)] : []),
    ],
    reference: {
      error: outputError(rows, given, { n, k, batch }),
      tolerance: (k + 8) * 2 ** -24 + (rounding === 'f16 sums' ? HALF_ERROR : 0),
    },
  };
}

/** The values that a block of a weight stands for, here and in f32 on the device. */
async function expand(gpu: Gpu, block: Weight, buffers: Scratch): Promise<{ rows: Float32Array; dense: Weight }> {
  const { format, rows: count, k } = block;
  const f32 = formatByName('f32');
  if (isSparse(format)) {
    const rows = format.reference.dequantize(await readWeight(gpu, block), count, k);
    return { rows, dense: uploadWeight(gpu, f32, count, k, { data: new Uint8Array(rows.buffer) }, 'expanded') };
  }
  const dense = allocateWeight(gpu, f32, count, k, 'expanded');
  try {
    const to = dense.parts[0]!.arrays[0]!;
    const from = block.parts[0]!.arrays;
    const bad = buffers.room(4, 'bad');
    await gpu.scheduler.run([dequantizeStep({ format, from, target: f32, to, rows: count, k, bad })]);
    return { rows: await readFloats(gpu, to.buffer, count * k), dense };
  } catch (error) {
    dense.release();
    throw error;
  }
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
  const room = new Scratch(gpu);
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
      check: () => freshOutput(gpu, steps[0]!, product.y.buffer, product.batch * n),
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
        grid: [n / TILE, batch / TILE, 1],
      };
      return recorded(gpu, runsOf([[step]], work.count), {
        check: () => freshOutput(gpu, [step], y.buffer, batch * n),
        release: () => weight.release(),
      });
    },
  };
}

/** Shapes of layers, each once: of the smallest matrices only in quick runs. */
function shapesOf(quick: boolean): (readonly [n: number, k: number])[] {
  const all = quick ? matricesOf(MODEL_SHAPES['1B']).slice(0, 1) : Object.values(MODEL_SHAPES).flatMap(matricesOf);
  return [...new Map(all.map((shape) => [shape.join(), shape])).values()];
}

const casesOf = (forms: readonly string[], batches: readonly number[], quick: boolean): Case[] =>
  shapesOf(quick).flatMap(([n, k]) => batches.flatMap((batch) => forms.map((form) => linearCase(form, n, k, batch))));

/** Matrices of a layer over formats, sizes of models and batches. */
export const linearSuite: Suite = {
  name: 'linear',
  title: 'Products with weights',
  cases: ({ quick }) => {
    const [forms, batches] = quick ? [QUICK_FORMATS, QUICK_BATCHES] : [FORMATS, BATCHES];
    return [linearCase('f32', SQUARE, SQUARE, SQUARE), ...casesOf(forms, batches, quick)];
  },
  others: ({ gpu, quick }) =>
    casesOf(
      ALL_FORMS.filter((form) => runsOn(gpu, form)),
      quick ? QUICK_BATCHES : BATCHES,
      quick,
    ),
};

/** Whether the device can: sums in f16 need a feature, and not every driver multiplies packed int8. */
const runsOn = (gpu: Gpu, form: string): boolean =>
  form.endsWith('f16 sums')
    ? gpu.features.has('shader-f16')
    : !form.endsWith('int8 inputs') || gpu.selfTest?.multipliesPacked !== false;
