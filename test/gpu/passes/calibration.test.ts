import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ArgumentError, FileError, RecipeError } from '../../../src/errors.ts';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { readImatrix } from '../../../src/files/gguf/imatrix-read.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { memoryOutput, memorySink } from '../../../src/files/sink.ts';
import { memorySource } from '../../../src/files/source.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import type { Graph, GraphWeight } from '../../../src/graph/graph.ts';
import { ReferenceRun } from '../../../src/graph/reference.ts';
import { transposedProduct } from '../../../src/kernels/reference/transposed-product.ts';
import { uploadWeight, type Weight } from '../../../src/kernels/weight.ts';
import { graphOf } from '../../../src/models/families.ts';
import { calibrate } from '../../../src/passes/calibration/calibrate.ts';
import { calibrateImatrix, imatrixStatistics } from '../../../src/passes/calibration/imatrix.ts';
import { inputGroups } from '../../../src/passes/calibration/input-groups.ts';
import { readStatistics } from '../../../src/passes/calibration/read-statistics.ts';
import { walkInputs } from '../../../src/passes/calibration/walk.ts';
import { compress, planCompression } from '../../../src/passes/compress.ts';
import { checkWeight, findWeight, readValues } from '../../../src/passes/stored-weight.ts';
import { openTestGpu } from '../open-test-gpu.ts';
import { randomValues } from '../random-weights.ts';
import { modelFolder, smallConfig, TOKENS, WINDOWS, windowsOf } from '../small-model.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());

/** Inputs of every group over all windows, from the f64 reference: [tokens, k] by name. */
function inputsOf(graph: Graph, values: (name: string) => Float32Array, windows: readonly Uint32Array[]) {
  const inputs = new Map<string, number[]>(inputGroups(graph).map(({ input }) => [input, []]));
  for (const window of windows) {
    new ReferenceRun(graph, values).forward([...window], {
      onValue: (_, name, value) => inputs.get(name)?.push(...value),
    });
  }
  return inputs;
}

const f32 = formatByName('f32');

/** Uploads weights of the checkpoint's graph whenever they are asked for. */
function sourceOf(values: (name: string) => Float32Array) {
  const upload = ({ name }: GraphWeight, numbers: Float32Array, k: number): Weight =>
    uploadWeight(gpu, f32, numbers.length / k, k, f32.reference.quantize(numbers, numbers.length / k, k), name);
  return {
    load: async (weight: GraphWeight) => upload(weight, values(weight.name), weight.shape.at(-1)!),
    gather: async (weight: GraphWeight, rows: Uint32Array) => {
      const k = weight.shape[1]!;
      const all = values(weight.name);
      return upload(
        weight,
        Float32Array.from([...rows].flatMap((row) => [...all.subarray(row * k, (row + 1) * k)])),
        k,
      );
    },
  };
}

describe.each(['Llama', 'Qwen3', 'Gemma2'])('%s', (family) => {
  test('the statistics of every input equal those of the f64 reference', async () => {
    const graph = graphOf(smallConfig(family, { tie_word_embeddings: family !== 'Qwen3' }), 'config.json');
    const values = randomValues(graph, 5);
    const windows = windowsOf(graph.vocabulary);
    const wanted = inputsOf(graph, values, windows);
    const before = gpu.memory.bytesInUse;
    const seen: string[] = [];
    const total = WINDOWS * TOKENS;
    const problems: string[] = [];
    const { readBacks } = gpu.counters;
    await walkInputs({
      ...{ gpu, graph, windows, source: sourceOf(values), wanted: () => true },
      visit: async ({ input, k }, statistics) => {
        seen.push(input);
        const x = wanted.get(input)!;
        const h = new Float32Array((await gpu.readBack(statistics.hessian!.buffer, 0, 4 * k * k)).buffer);
        const columns = await statistics.columns();
        const sums = transposedProduct(x, x, k, k).map((sum) => sum / total);
        // Inputs come through up to two layers in f32; the sums themselves are good to 1e-5.
        const close = (what: string, got: number, want: number, scale: number) => {
          if (!(Math.abs(got - want) <= 1e-4 * scale)) problems.push(`${input} ${what}: ${got}, not ${want}`);
        };
        for (let i = 0; i < k; i++) {
          const column = Array.from({ length: total }, (_, t) => Math.abs(x[t * k + i]!));
          const mean = column.reduce((sum, value) => sum + value, 0) / total;
          const largest = Math.max(...column);
          close(`mean |x| ${i}`, columns.meanAbs[i]!, mean, largest);
          close(`max |x| ${i}`, columns.absMax[i]!, largest, largest);
          const signed = Array.from({ length: total }, (_, t) => x[t * k + i]!).reduce((sum, value) => sum + value, 0);
          close(`mean x ${i}`, columns.mean![i]!, signed / total, largest);
          close(`mean x² ${i}`, columns.meanSquare[i]!, sums[i * k + i]!, sums[i * k + i]!);
          for (let j = 0; j < k; j++) {
            close(`H ${i} ${j}`, h[i * k + j]!, sums[i * k + j]!, Math.sqrt(sums[i * k + i]! * sums[j * k + j]!));
          }
        }
        return new Map();
      },
    });
    expect(problems.slice(0, 5)).toEqual([]);
    // What the pieces of a walk give on comes back in one read for each window.
    expect(gpu.counters.readBacks - readBacks).toBeLessThanOrEqual(WINDOWS * (seen.length + 2) + 2 * seen.length);
    expect(seen).toEqual(inputGroups(graph).map(({ input }) => input));
    expect(gpu.memory.bytesInUse).toBe(before);
  });
});

const calibrationOf = (graph: Graph) => ({ windows: windowsOf(graph.vocabulary) });

test('gptq loses less than rounding to nearest, says how much, and writes the same bytes twice', async () => {
  const { graph, values, open } = await modelFolder(smallConfig());
  const calibration = calibrationOf(graph);
  const run = async (options: object = {}) => {
    const output = memoryOutput('out');
    const report = await compress(open(), output, { gpu, format: 'q4_0', method: 'gptq', calibration, ...options });
    return { report, output, bytes: Buffer.from(output.files.get('model.safetensors')!) };
  };
  const before = gpu.memory.bytesInUse;
  const first = await run();
  expect(gpu.memory.bytesInUse).toBe(before);
  const linear = first.report.tensors.filter(({ role }) => role === 'linear');
  expect(linear).toHaveLength(14);
  for (const { error, method } of linear) {
    expect(method).toBe('gptq');
    expect(error!.chosen).toBeLessThanOrEqual(error!.rtn);
  }
  const sum = (of: 'rtn' | 'chosen') => linear.reduce((total, { error }) => total + error![of], 0);
  expect(sum('chosen')).toBeLessThan(0.6 * sum('rtn'));

  // Of the first input nothing has been compressed yet, so its H is known: what was reported is what the file has.
  const { input, k, weights } = inputGroups(graph)[0]!;
  const x = inputsOf(graph, values, calibration.windows).get(input)!;
  const h = transposedProduct(x, x, k, k);
  const cost = (rows: ArrayLike<number>) => {
    let total = 0;
    for (let row = 0; row < rows.length / k; row++) {
      for (let i = 0; i < k; i++) {
        for (let j = 0; j < k; j++) total += rows[row * k + i]! * h[i * k + j]! * rows[row * k + j]!;
      }
    }
    return total;
  };
  const files = memoryFolder('out', Object.fromEntries(first.output.files));
  const checkpoint = await openCheckpoint(files, { checkWeight });
  for (const name of weights) {
    const kept = await readValues(checkpoint, findWeight(checkpoint, name));
    const share = cost(values(name).map((w, i) => w - kept[i]!)) / cost(values(name));
    expect(linear.find((tensor) => tensor.name === name)!.error!.chosen / share).toBeCloseTo(1, 3);
  }
  await checkpoint.close();

  expect((await run()).bytes.equals(first.bytes)).toBe(true);
  const apart = await run({ calibration: { ...calibration, propagate: false } });
  expect(apart.bytes.equals(first.bytes)).toBe(false);
  const searched = await run({ method: 'rtn' });
  expect(searched.bytes.equals(first.bytes)).toBe(false);
});

test('statistics of a file give the bytes that the text gives where blocks are shown the original model', async () => {
  const { graph, open } = await modelFolder(smallConfig());
  const calibration = calibrationOf(graph);
  const statistics = memorySink('statistics.safetensors');
  const steps: number[] = [];
  const header = await calibrate(open(), statistics, { gpu, calibration, onProgress: (done) => steps.push(done) });
  expect(header).toMatchObject({ version: 1, tokens: WINDOWS * TOKENS });
  expect(header.inputs.map(({ input }) => input)).toEqual(inputGroups(graph).map(({ input }) => input));
  expect(steps).toEqual(Array.from({ length: steps.length }, (_, i) => i + 1));
  const how = { gpu, format: 'q4_0', method: 'gptq' } as const;
  const direct = memoryOutput('out');
  await compress(open(), direct, { ...how, calibration: { ...calibration, propagate: false } });
  const file = await readStatistics(memorySource('statistics.safetensors', statistics.bytes()));
  const before = gpu.memory.bytesInUse;
  const stored = memoryOutput('out');
  const report = await compress(open(), stored, { ...how, statistics: file });
  expect(gpu.memory.bytesInUse).toBe(before);
  expect(report.tensors.filter(({ error }) => error)).toHaveLength(14);
  const bytes = ({ files }: typeof direct) => Buffer.from(files.get('model.safetensors')!);
  expect(bytes(stored).equals(bytes(direct))).toBe(true);

  const other = await modelFolder(smallConfig('Llama', { intermediate_size: 128 }));
  const wrong = compress(other.open(), memoryOutput('out'), { ...how, statistics: file });
  await expect(wrong).rejects.toThrow(FileError);
  await expect(wrong).rejects.toThrow(
    /statistics of another model.*96 columns, not 128, of "model\.layers\.0\.mlp\.down_proj/,
  );
  await file.close();
});

test('an importance matrix weighs the search, and is written as it is read', async () => {
  const { graph, values, open } = await modelFolder(smallConfig());
  const calibration = calibrationOf(graph);
  const sink = memorySink('imatrix.gguf');
  const written = await calibrateImatrix(open(), sink, { gpu, calibration, dataset: 'random' });
  const imatrix = await readImatrix(memorySource('imatrix.gguf', sink.bytes()), graph.weights);
  expect(imatrix).toMatchObject({ datasets: ['random'], chunkCount: WINDOWS, chunkSize: TOKENS });
  const { input, k, weights } = inputGroups(graph)[1]!;
  const x = inputsOf(graph, values, calibration.windows).get(input)!;
  const means = imatrix.importance.get(weights[0]!)!;
  for (let i = 0; i < k; i++) {
    let sum = 0;
    for (let t = 0; t < WINDOWS * TOKENS; t++) sum += x[t * k + i]! ** 2;
    expect(means[i]! / (sum / (WINDOWS * TOKENS))).toBeCloseTo(1, 3);
    expect(means[i]! / written.importance.get(weights[0]!)![i]!).toBeCloseTo(1, 5);
  }
  const statistics = imatrixStatistics('imatrix.gguf', imatrix);
  const run = (options: object) => compress(open(), memoryOutput('out'), { gpu, format: 'q4_0', ...options });
  const report = await run({ statistics });
  const found = report.tensors.flatMap(({ error }) => (error ? [error] : []));
  expect(found).toHaveLength(14);
  const sum = (of: 'rtn' | 'chosen') => found.reduce((total, error) => total + error[of], 0);
  expect(sum('chosen')).toBeLessThan(0.95 * sum('rtn'));
  for (const method of ['gptq', 'awq']) {
    await expect(run({ statistics, method })).rejects.toThrow(/is an importance matrix, which the method/);
  }
  // The head is none of its matrices, and is pruned like one whose inputs nothing shows.
  const prune = { pattern: '50%' };
  const recipe = { version: 1 as const, rules: [{ match: '*', format: 'keep', prune }] };
  const pruned = await compress(open(), memoryOutput('out'), { gpu, recipe, statistics });
  const head = pruned.tensors.find(({ role }) => role === 'head');
  expect(head!.prune).toMatchObject({ score: 'magnitude', sparsity: 0.5 });
});

test('files that hold no statistics, or damaged ones, are refused', async () => {
  const { graph, open } = await modelFolder(smallConfig());
  const sink = memorySink('statistics.safetensors');
  await calibrate(open(), sink, { gpu, calibration: calibrationOf(graph) });
  const bytes = sink.bytes();
  const opened = (changed: Uint8Array<ArrayBuffer>) => readStatistics(memorySource('statistics.safetensors', changed));
  const text = (from: string, to: string) => {
    const latin = Buffer.from(bytes).toString('latin1');
    expect(latin).toContain(from);
    return new Uint8Array(Buffer.from(latin.replace(from, to), 'latin1'));
  };
  const model = await open().open('model.safetensors');
  await expect(readStatistics(model)).rejects.toThrow(/holds no statistics of a calibration/);
  await expect(opened(bytes.slice(0, 4000))).rejects.toThrow(FileError);
  await expect(opened(text('compressa.statistics', 'compressa_statistics'))).rejects.toThrow(/holds no statistics/);
  await expect(opened(text('"version\\":1', '"version\\":2'))).rejects.toThrow(/not as this version knows it: version/);
  await expect(opened(text('layers.0.activated.mean_abs', 'layers.0.activated.mean_sbs'))).rejects.toThrow(
    /no tensor "layers\.0\.activated\.mean_abs"/,
  );
  // A number that is none, in the first tensor.
  const infinite = bytes.slice();
  const header = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  new DataView(infinite.buffer).setFloat32(8 + Number(header), Number.NaN, true);
  const file = await opened(infinite);
  await expect(
    compress(open(), memoryOutput('out'), { gpu, format: 'q4_0', method: 'gptq', statistics: file }),
  ).rejects.toThrow(/holds a value that is negative or not finite/);
  await file.close();
  // The last element of the last H.
  const last = bytes.slice();
  new DataView(last.buffer).setFloat32(last.length - 4, Number.POSITIVE_INFINITY, true);
  const other = await opened(last);
  const recipe = { version: 1 as const, rules: [{ match: 'lm_head.weight', format: 'q4_0', method: 'gptq' as const }] };
  await expect(compress(open(), memoryOutput('out'), { gpu, recipe, statistics: other })).rejects.toThrow(
    /hessian" holds a value that is not finite/,
  );
  await other.close();
});

test('an H that is not positive definite ends in a stated fall-back, and in numbers', async () => {
  const { graph, values, open } = await modelFolder(smallConfig());
  const sink = memorySink('statistics.safetensors');
  await calibrate(open(), sink, { gpu, calibration: calibrationOf(graph) });
  const bytes = sink.bytes();
  // Neighbours that are correlated ten times as much as they can be.
  const { tensors } = await openCheckpoint(memorySource('statistics.safetensors', bytes.slice()));
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  for (const [name, { offset, shape }] of tensors) {
    if (!name.endsWith('.hessian')) continue;
    const k = shape[0]!;
    for (let i = 0; i + 1 < k; i++) {
      const much = 10 * view.getFloat32(offset + 4 * (i * k + i), true);
      for (const at of [i * k + i + 1, (i + 1) * k + i]) view.setFloat32(offset + 4 * at, much, true);
    }
  }
  const statistics = await readStatistics(memorySource('statistics.safetensors', bytes));
  for (const method of ['gptq', 'awq'] as const) {
    const output = memoryOutput('out');
    const { notices } = await compress(open(), output, { gpu, format: 'q4_0', method, statistics });
    if (method === 'gptq') expect(notices.join('\n')).toMatch(/not refined: H is not positive definite/);
    const checkpoint = await openCheckpoint(memoryFolder('out', Object.fromEntries(output.files)), { checkWeight });
    for (const { name, role } of graph.weights) {
      const read = await readValues(checkpoint, findWeight(checkpoint, name));
      expect(read.every(Number.isFinite), name).toBe(true);
      if (method !== 'gptq' || role !== 'linear') continue;
      const [lost, all] = values(name).reduce(([a, b], w, i) => [a + (w - read[i]!) ** 2, b + w * w], [0, 0]);
      expect(lost).toBeLessThan(0.05 * all);
    }
    await checkpoint.close();
  }
  await statistics.close();
});

test('refinement fits scales to what inputs are like, behind any method', async () => {
  const { graph, open } = await modelFolder(smallConfig());
  const calibration = calibrationOf(graph);
  const run = async (options: object) => {
    const { tensors } = await compress(open(), memoryOutput('out'), { gpu, format: 'q4_0', calibration, ...options });
    return tensors.reduce((sum, { error }) => sum + (error?.chosen ?? 0), 0);
  };
  // H of the first blocks is the same; later ones see other inputs, hence the margins.
  expect(await run({ method: 'search', refine: 1 })).toBeLessThan(0.99 * (await run({ method: 'search' })));
  const hqq = { format: 'int3-g16-fzp', method: 'hqq' } as const;
  expect(await run({ ...hqq, refine: 1 })).toBeLessThan(0.99 * (await run(hqq)));
  const [none, three] = [await run({ method: 'gptq', refine: 0 }), await run({ method: 'gptq' })];
  expect(three).toBeLessThan(0.95 * none);
  await expect(run({ format: 'f16', refine: 1 })).resolves.toBe(0);
  await expect(run({ refine: 17 })).rejects.toThrow(RecipeError);
  await expect(run({ refine: 1, calibration: undefined })).rejects.toThrow(/Refinement needs a calibration text/);
});

test('a GGUF file holds the same codes, its rows in the order of GGUF', async () => {
  const { graph, open } = await modelFolder(smallConfig());
  const options = { gpu, format: 'q4_0', method: 'gptq', calibration: calibrationOf(graph) } as const;
  const output = memoryOutput('out');
  await compress(open(), output, options);
  const sink = memorySink('out.gguf');
  await compress(open(), sink, options);
  const one = await openCheckpoint(memoryFolder('out', Object.fromEntries(output.files)), { checkWeight });
  const other = await openCheckpoint(memorySource('out.gguf', sink.bytes()), { checkWeight });
  for (const { name, role } of graph.weights) {
    if (role !== 'linear') continue;
    const [a, b] = await Promise.all([one, other].map((from) => readValues(from, findWeight(from, name))));
    expect(Buffer.from(a!.buffer).equals(Buffer.from(b!.buffer)), name).toBe(true);
  }
  await one.close();
  await other.close();
});

test('inputs that are always zero, or in part, end in a stated fall-back', async () => {
  const settings = smallConfig();
  const { graph, values, open } = await modelFolder(settings, (name, numbers) => {
    // Nothing reaches the queries of the first layer; of the second, half of the columns.
    if (name === 'model.layers.0.input_layernorm.weight') numbers.fill(0);
    if (name === 'model.layers.1.input_layernorm.weight') numbers.fill(0, 0, 32);
  });
  const output = memoryOutput('out');
  const report = await compress(open(), output, {
    ...{ gpu, format: 'q4_0', method: 'gptq', calibration: calibrationOf(graph) },
  });
  expect(report.notices.join('\n')).toMatch(
    /"model\.layers\.0\.self_attn\.q_proj\.weight".*codes are searched for, and not refined: its inputs are all zero/,
  );
  expect(report.notices.join('\n')).not.toMatch(/layers\.1\.self_attn\.q_proj/);
  const checkpoint = await openCheckpoint(memoryFolder('out', Object.fromEntries(output.files)), { checkWeight });
  for (const { name } of graph.weights) {
    const read = await readValues(checkpoint, findWeight(checkpoint, name));
    expect(read.every(Number.isFinite), name).toBe(true);
  }
  // Columns that are never active are still rounded to something near.
  const name = 'model.layers.1.self_attn.q_proj.weight';
  const kept = await readValues(checkpoint, findWeight(checkpoint, name));
  const lost = values(name).map((w, i) => (w - kept[i]!) ** 2);
  const size = (values: Float32Array) => values.reduce((sum, value) => sum + value, 0);
  expect(size(lost)).toBeLessThan(0.05 * size(values(name).map((w) => w * w)));
  await checkpoint.close();
});

test.each([
  ['int4-g32-asym', 'gptq', { correction: 0 }],
  ['int3-g32', 'gptq', {}],
  ['q4_0', 'awq', {}],
  ['q8_0', 'search', { propagate: false }],
] as const)('the GPU memory that a plan names is what %s by %s takes', async (format, method, how) => {
  // Wide enough that what is rounded up to sizes of the pool is little.
  const { graph, open } = await modelFolder(smallConfig('Llama', { hidden_size: 256, intermediate_size: 512 }));
  const options = { format, method, calibration: { ...calibrationOf(graph), ...how } };
  const { memory } = await planCompression(open(), options);
  const uncalibrated = await planCompression(open(), { format });
  expect(memory.host).toBeGreaterThan(uncalibrated.memory.host);
  expect(memory.gpu).toBeGreaterThan(uncalibrated.memory.gpu);
  const before = gpu.memory.bytesInUse;
  gpu.memory.resetPeak();
  await compress(open(), memoryOutput('out'), { gpu, ...options });
  const taken = gpu.memory.peakBytes - before;
  expect(taken).toBeLessThan(1.1 * memory.gpu);
  expect(taken).toBeGreaterThan(0.9 * memory.gpu);
});

test('the GPU memory that a plan names holds long windows', async () => {
  const { graph, open } = await modelFolder(smallConfig('Llama', { max_position_embeddings: 1024 }));
  const window = Uint32Array.from({ length: 1024 }, (_, i) => i % graph.vocabulary);
  const options = { format: 'q8_0', calibration: { windows: [window] } };
  const { memory } = await planCompression(open(), options);
  const before = gpu.memory.bytesInUse;
  gpu.memory.resetPeak();
  await compress(open(), memoryOutput('out'), { gpu, ...options });
  const taken = gpu.memory.peakBytes - before;
  expect(taken).toBeLessThan(1.1 * memory.gpu);
  // Room for values is used again, which the estimate does not count on.
  expect(taken).toBeGreaterThan(0.5 * memory.gpu);
});

test('what a calibration can’t do is said before anything is written', async () => {
  const { graph, open } = await modelFolder(smallConfig());
  const windows = windowsOf(graph.vocabulary);
  const run = (options: object) => compress(open(), memoryOutput('out'), { gpu, format: 'q4_0', ...options });
  await expect(run({ method: 'gptq' })).rejects.toThrow(RecipeError);
  await expect(run({ method: 'gptq' })).rejects.toThrow(/needs a calibration text/);
  await expect(run({ method: 'gptq', format: 'f16', calibration: { windows } })).resolves.toBeDefined();
  const bad: [object, RegExp][] = [
    [{ windows: [] }, /no tokens/],
    [{ windows: [...windows, windows[0]!.slice(1)] }, /of one length/],
    [{ windows: [new Uint32Array(65)] }, /longer than the 64 positions/],
    [{ windows: [Uint32Array.of(101)] }, /token 101/],
  ];
  for (const [calibration, message] of bad) {
    await expect(run({ method: 'gptq', calibration })).rejects.toThrow(ArgumentError);
    await expect(run({ method: 'gptq', calibration })).rejects.toThrow(message);
  }
  // Of an embedding nobody knows inputs.
  const recipe = { version: 1 as const, rules: [{ match: '*embed*', format: 'q4_0', method: 'gptq' as const }] };
  const { notices } = await compress(open(), memoryOutput('out'), { gpu, recipe, calibration: { windows } });
  expect(notices.join()).toMatch(
    /"model\.embed_tokens\.weight" is quantized by \w+: a calibration does not show its inputs/,
  );
});
