import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CancelledError } from '../../src/errors.ts';
import { memoryOutput } from '../../src/files/sink.ts';
import { formatByName } from '../../src/formats/registry.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { packParams } from '../../src/gpu/kernel.ts';
import { Decoder } from '../../src/graph/decoder.ts';
import type { LinearNeed, Need, VariantChoice } from '../../src/graph/variant-choice.ts';
import { attentionCandidates } from '../../src/kernels/attention-variants.ts';
import { integerVariants, usualIntegerVariant } from '../../src/kernels/integer-linear.ts';
import { linearVariantsFor, usualVariant } from '../../src/kernels/linear-variants.ts';
import { openModel } from '../../src/model.ts';
import { compress } from '../../src/passes/compress.ts';
import { linearWork } from '../../src/tuner/linear-work.ts';
import { memoryTuningStore, type Tuning, type TuningStore } from '../../src/tuner/store.ts';
import { Tuner, type TunerOptions } from '../../src/tuner/tuner.ts';
import { entrantsOf, type Work } from '../../src/tuner/work.ts';
import { WeightMaker } from '../../src/verify/synthetic-weights.ts';
import { countedCalls } from './counted-calls.ts';
import { openTestGpu } from './open-test-gpu.ts';
import { randomWeights } from './random-weights.ts';
import { modelFolder, smallConfig, windowsOf } from './small-model.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu.close());

const linear = (format: string, rows: number, k: number, tokens: number): LinearNeed => ({
  ...{ kind: 'linear', format: formatByName(format), rows, k, tokens },
});
const heads = { kind: 'attention', heads: 4, kvHeads: 2, headDim: 16, positions: 64, cache: 'int4' } as const;
const NEEDS: readonly Need[] = [
  linear('q4_0', 96, 64, 1),
  linear('f32', 101, 63, 7),
  linear('w8a8', 96, 70, 1),
  { ...heads, tokens: 1 },
];

/** Counts what reaches it, and takes every contest for one that was clear. */
function watched(): TuningStore & { saved: [string, Tuning][] } {
  const inner = memoryTuningStore('somewhere');
  const saved: [string, Tuning][] = [];
  return {
    ...inner,
    saved,
    load: async (device) =>
      new Map([...(await inner.load(device))].map(([key, one]) => [key, { ...one, clear: true }])),
    save: (device, tunings) => {
      saved.push(...tunings);
      return inner.save(device, tunings);
    },
  };
}

const answers = (tuner: Tuner) =>
  NEEDS.map((need) => (need.kind === 'linear' ? tuner.linear(need) : tuner.attention(need)));
const tunerOf = (store: TuningStore, options: Partial<TunerOptions> = {}) =>
  new Tuner(gpu, { mode: 'quick', seconds: Number.POSITIVE_INFINITY, store, ...options });

describe('a tuner', () => {
  test('chooses a variant that fits each need, keeps it, and takes it up again without work', async () => {
    const store = watched();
    const before = gpu.memory.bytesInUse;
    const seen: [number, number][] = [];
    const tuner = tunerOf(store, { onProgress: (done, total) => seen.push([done, total]) });
    expect(answers(tuner)).toEqual(NEEDS.map(() => undefined));
    await tuner.prepare([...NEEDS, ...NEEDS]);
    const found = answers(tuner);
    for (const [i, need] of NEEDS.entries()) {
      if (need.kind === 'attention') continue;
      const all = linearVariantsFor(gpu, need, need.format.activations && integerVariants);
      expect(all.map(({ name }) => name)).toContain(found[i]);
    }
    expect(attentionCandidates(gpu, { ...heads, tokens: 1, maxPositions: heads.positions })).toContain(found[3]);
    expect(store.saved.map(([shape]) => shape)).toEqual([
      'q4_0 96x256, 1 tokens',
      'f32 96x257, 8 tokens',
      'w8a8 96x257, 1 tokens',
      'attention 4/2x16 over int4, 1 tokens, 64 positions',
    ]);
    for (const [, { variant, seconds }] of store.saved) {
      expect(Object.keys(seconds)).toContain(variant);
      for (const time of Object.values(seconds)) expect(time).toBeGreaterThan(0);
    }
    expect(gpu.memory.bytesInUse).toBe(before);
    expect(seen).toEqual([0, 1, 2, 3, 4].map((done) => [done, 4]));
    expect((await tuner.facts()).map(({ shape }) => shape)).toEqual(store.saved.map(([shape]) => shape));

    const submits = gpu.counters.submits;
    const next = tunerOf(store);
    await next.prepare(NEEDS);
    expect(answers(next)).toEqual(found);
    expect(gpu.counters.submits).toBe(submits);
    expect(store.saved).toHaveLength(NEEDS.length);
  });

  test('times anew what was found among other kernels, by a quicker mode, or for variants that are gone', async () => {
    // Few variants, that compile in a moment.
    const need = NEEDS[2] as LinearNeed;
    const store = watched();
    await tunerOf(store).prepare([need]);
    const [shape, found] = store.saved[0]!;
    const [device] = await devicesOf(store, need);
    const count = async (tuning: Tuning, options?: Partial<TunerOptions>) => {
      await store.save(device!, new Map([[shape, tuning]]));
      store.saved.length = 0;
      await tunerOf(store, options).prepare([need]);
      return store.saved.length;
    };
    expect(await count(found)).toBe(0);
    expect(await count({ ...found, kernels: 'others' })).toBe(1);
    expect(await count({ ...found, variant: 'vector-3' })).toBe(1);
    expect(await count(found, { mode: 'full' })).toBe(1);
    expect(await count({ ...found, mode: 'full' }, { mode: 'full' })).toBe(0);
  });

  test('goes on with what is not certain, first with what it has not looked at, until it has had its chances', async () => {
    const need = NEEDS[0] as LinearNeed;
    const store = memoryTuningStore();
    const [device] = await devicesOf(store, need);
    await tunerOf(store).prepare([need]);
    const [[shape, found]] = [...(await store.load(device!))] as [[string, Tuning]];
    const again = async (tuning: Tuning, options?: Partial<TunerOptions>) => {
      await store.save(device!, new Map([[shape, tuning]]));
      const tuner = tunerOf(store, options);
      await tuner.prepare([need]);
      return { chosen: tuner.linear(need), kept: (await store.load(device!)).get(shape)! };
    };
    const names = Object.keys(found.seconds);
    const usual = usualVariant(gpu, need, need.format);
    const seconds = { [usual]: found.seconds[usual]! };
    const begun = { ...found, variant: usual, clear: false, seconds };
    const { kept } = await again(begun);
    expect(kept.contests).toBe(found.contests + 1);
    expect(Object.keys(kept.seconds).length).toBeGreaterThan(1);
    // Those that were far behind stay away.
    const slow = names.find((name) => name !== usual)!;
    const second = await again({ ...begun, seconds: { ...seconds, [slow]: 1000 } });
    expect(second.kept.seconds[slow]).toBe(1000);
    // Without time, and after as many contests as there are variants, what was found serves as it is.
    expect(await again(begun, { seconds: 0 })).toEqual({ chosen: usual, kept: begun });
    const tired = { ...begun, contests: 1000 };
    expect(await again(tired)).toEqual({ chosen: usual, kept: tired });
  });

  test('leaves shapes alone when its time is over, or when it is off', async () => {
    for (const options of [{ seconds: 0 }, { mode: 'off' }] as const) {
      const store = watched();
      const tuner = tunerOf(store, options);
      const { submits } = gpu.counters;
      await tuner.prepare(NEEDS);
      expect(answers(tuner)).toEqual(NEEDS.map(() => undefined));
      expect(store.saved).toEqual([]);
      expect(gpu.counters.submits).toBe(submits);
    }
  });

  test('keeps what it found when it is cancelled, and frees its memory', async () => {
    const store = watched();
    const before = gpu.memory.bytesInUse;
    const controller = new AbortController();
    const onProgress = (done: number) => done === 1 && controller.abort();
    const tuner = tunerOf(store, { signal: controller.signal, onProgress });
    await expect(tuner.prepare(NEEDS)).rejects.toThrow(CancelledError);
    expect(store.saved).toHaveLength(1);
    expect(gpu.memory.bytesInUse).toBe(before);
  });

  test('does without a choice where nothing fits the memory, and refuses modes that there are not', async () => {
    const store = watched();
    const { budget } = gpu.memory;
    Object.assign(gpu.memory, { budget: gpu.memory.bytesInUse + 1000 });
    try {
      const tuner = tunerOf(store);
      await tuner.prepare(NEEDS);
      expect(answers(tuner)).toEqual(NEEDS.map(() => undefined));
    } finally {
      Object.assign(gpu.memory, { budget });
    }
    expect(() => tunerOf(store, { mode: 'fast' as never })).toThrow(/no mode "fast".*off, quick, full/);
  });
});

describe('entrants of a contest', () => {
  const withWork = async (need: LinearNeed, use: (work: Work) => Promise<void>) => {
    const maker = new WeightMaker(gpu);
    const work = await linearWork({ gpu, maker }, need, ['vector-1', 'tile-4']);
    await use(work).finally(() => {
      work.release();
      maker.release();
    });
  };

  test('are recorded before they run, and compared by little of what they make', () =>
    withWork(linear('q4_0', 9000, 64, 4), async (work) => {
      const { readBackBytes } = gpu.counters;
      const { entrants } = (await entrantsOf(gpu, work, 1e-4))!;
      const prepared = await Promise.all(entrants.map((one) => one.prepare()));
      expect(work.out.size).toBe(144_000);
      expect(gpu.counters.readBackBytes - readBackBytes).toBe(2 * 65_536);
      const made = countedCalls(gpu.device, ['createBindGroup', 'createBuffer', 'pushErrorScope']);
      for (let i = 0; i < 5; i++) for (const one of prepared) await one.run();
      expect(made.stop()).toEqual({});
      for (const one of prepared) one.release();
    }));

  test('that compute something else are refused, wherever it is', () =>
    withWork(linear('q4_0', 9000, 64, 4), async (work) => {
      // The last rows of the last token.
      const wrong: Work = {
        ...work,
        steps: (variant, copy) =>
          work.steps(variant, copy).map((step) => ({
            ...step,
            ...(variant === 'tile-4' && { params: packParams(8000, 64, 4, 0, 9000, 0, 0, 0) }),
          })),
      };
      const { entrants } = (await entrantsOf(gpu, wrong, 1e-4))!;
      (await entrants[0]!.prepare()).release();
      await expect(entrants[1]!.prepare()).rejects.toThrow('tile-4 computes something else than vector-1');
    }));

  test('there are none where a single product takes too long', () =>
    withWork(linear('q4_0', 9000, 64, 4), async (work) => {
      const { submits } = gpu.counters;
      expect(await entrantsOf(gpu, work, 1e-4, { product: 1, first: 0 })).toBeUndefined();
      expect(gpu.counters.submits - submits).toBe(1);
      expect(await entrantsOf(gpu, work, 1e-4, { product: 0, first: 1000 })).toBeUndefined();
      expect(gpu.counters.submits - submits).toBe(3);
    }));
});

/** The names under which a store keeps what a tuner finds. */
async function devicesOf(store: TuningStore, need: Need): Promise<string[]> {
  const devices: string[] = [];
  const listening: TuningStore = {
    ...store,
    load(device) {
      devices.push(device);
      return store.load(device);
    },
  };
  await tunerOf(listening, { seconds: 0 }).prepare([need]);
  return devices;
}

/** Takes for everything another variant than the usual one, of those that compile fast, and remembers what it was asked. */
function contrary(): VariantChoice & { asked: Need[] } {
  const asked: Need[] = [];
  return {
    asked,
    prepare: async (needs) => void asked.push(...needs),
    linear(need) {
      asked.push(need);
      const integers = need.format.activations !== undefined;
      const usual = integers ? usualIntegerVariant(gpu, need) : usualVariant(gpu, need, need.format);
      return linearVariantsFor(gpu, need, integers ? integerVariants : undefined)
        .map(({ name }) => name)
        .find((name) => name !== usual);
    },
    attention: () => 'thread',
  };
}

test('a decoder asks for every product that it is about to run, and computes the same up to rounding', async () => {
  const { graph, weights } = await randomWeightsOf();
  const tuner = contrary();
  const plain = new Decoder(gpu, graph, weights);
  const tuned = new Decoder(gpu, graph, weights, { tuner });
  const logits = async (decoder: Decoder, tokens: number[]) => {
    const { logits: view } = await decoder.forward(tokens, { lastOnly: true });
    return new Float32Array((await gpu.readBack(view.buffer, 0, view.size)).buffer);
  };
  for (const tokens of [[1, 2, 3, 4, 5], [6]]) {
    const [a, b] = [await logits(plain, tokens), await logits(tuned, tokens)];
    const scale = Math.max(...a.map(Math.abs));
    // Sums of a hundred products in another order.
    for (const [i, value] of a.entries()) expect(Math.abs(value - b[i]!)).toBeLessThan(1e-4 * scale);
    expect(b).not.toEqual(a);
  }
  const shapes = tuner.asked.flatMap((need) =>
    need.kind === 'linear' ? [`${need.rows}x${need.k}x${need.tokens}`] : [],
  );
  // Queries with keys and values, a gate with what it lets through, down; the head of a prompt multiplies its last token only where offsets allow it.
  for (const shape of ['128x64x5', '192x64x5', '64x96x5', '64x64x1', '101x64x1']) expect(shapes).toContain(shape);
  plain.release();
  tuned.release();
});

test('a decoder prepares all that it asks for afterwards, products of stacked weights included', async () => {
  const { open } = await modelFolder(smallConfig());
  const key = (need: Need) =>
    need.kind === 'linear' ? `${need.rows}x${need.k}x${need.tokens}` : `attention ${need.tokens}`;
  const [prepared, unprepared] = [new Set<string>(), new Set<string>()];
  let planning = true;
  const ask = (need: Need): undefined => {
    if (!planning && !prepared.has(key(need))) unprepared.add(key(need));
    return undefined;
  };
  const tuner: VariantChoice = {
    async prepare(needs) {
      for (const need of needs) prepared.add(key(need));
      planning = false;
    },
    linear: ask,
    attention: ask,
  };
  const model = await openModel(open(), { gpu, tuner });
  for (const tokens of [[1, 2, 3], [4]]) {
    planning = true;
    await model.decoder.forward(tokens, { lastOnly: true });
  }
  await model.close();
  expect([...unprepared]).toEqual([]);
  // Queries, keys and values, and a gate with what it lets through.
  for (const shape of ['128x64x3', '192x64x3', '128x64x1', '192x64x1', 'attention 1'])
    expect(prepared).toContain(shape);
});

async function randomWeightsOf() {
  const { graph } = await modelFolder(smallConfig());
  return { graph, weights: randomWeights(gpu, graph, 3).weights };
}

test('tuning never changes what a compression writes, and chooses among products of integers', async () => {
  const { graph, open } = await modelFolder(smallConfig());
  const calibration = { windows: windowsOf(graph.vocabulary) };
  const write = async (format: string, method: 'smoothquant' | 'gptq', tuner?: VariantChoice) => {
    const output = memoryOutput();
    await compress(open(), output, { gpu, format, method, calibration, ...(tuner && { tuner }) });
    return output.files.get('model.safetensors')!;
  };
  for (const [format, method] of [
    ['w8a8', 'smoothquant'],
    ['q4_0', 'gptq'],
  ] as const) {
    // biome-ignore format: a line
    const plain = await write(format, method);
    const tuner = contrary();
    expect(Buffer.compare(await write(format, method, tuner), plain), format).toBe(0);
    const formats = new Set(tuner.asked.map((need) => (need.kind === 'linear' ? need.format.name : need.kind)));
    // Matrices that are quantized already run as integers; all else keeps the order of its sums.
    expect([...formats]).toEqual(format === 'w8a8' ? ['w8a8'] : []);
    expect(Buffer.compare(await write(format, method, tunerOf(memoryTuningStore())), plain), format).toBe(0);
  }
});

test('a model opened with `tune` tunes when it first writes, once for all models of the GPU', async () => {
  const own = await openTestGpu();
  try {
    const { open } = await modelFolder(smallConfig());
    for (const found of [false, true]) {
      const model = await openModel(open(), { gpu: own, tune: 'full' });
      const before = own.counters.submits;
      await model.decoder.forward([1]);
      expect(own.counters.submits - before < 10).toBe(found);
      await model.close();
    }
  } finally {
    own.close();
  }
});
