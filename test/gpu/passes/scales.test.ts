import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RecipeError } from '../../../src/errors.ts';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { decodeToF32 } from '../../../src/files/convert.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { memoryOutput, memorySink } from '../../../src/files/sink.ts';
import { memorySource } from '../../../src/files/source.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { Scratch } from '../../../src/gpu/scratch.ts';
import { Decoder } from '../../../src/graph/decoder.ts';
import type { Graph } from '../../../src/graph/graph.ts';
import { ReferenceRun } from '../../../src/graph/reference.ts';
import { findScaleFoldings, foldScales } from '../../../src/graph/scale-folding.ts';
import { quantizeStep } from '../../../src/kernels/quantize.ts';
import { calibrate } from '../../../src/passes/calibration/calibrate.ts';
import { readStatistics } from '../../../src/passes/calibration/read-statistics.ts';
import { compress } from '../../../src/passes/compress.ts';
import { allocateRows } from '../../../src/passes/device-arrays.ts';
import { canFold, foldedCheckpoint } from '../../../src/passes/folding/folded-checkpoint.ts';
import { loadWeights } from '../../../src/passes/load-weights.ts';
import { awqFactors, awqScales } from '../../../src/passes/methods/awq.ts';
import { checkWeight } from '../../../src/passes/stored-weight.ts';
import { openTestGpu } from '../open-test-gpu.ts';
import { randomSource } from '../random.ts';
import { modelFolder, smallConfig, windowsOf } from '../small-model.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());

/** Channels that are a hundred times as large as the others, before every matrix that norms feed. */
const outliers = (name: string, values: Float32Array) => {
  if (!/layernorm/.test(name)) return;
  for (let i = 3; i < values.length; i += 16) values[i]! *= 100;
};

describe.each([
  ['Llama', { attention_bias: true, mlp_bias: true }],
  ['Gemma2', {}],
  ['Qwen3', {}],
] as const)('%s', (family, more) => {
  test('a checkpoint with factors moved reads as what moving them makes', async () => {
    const { graph, values, open } = await modelFolder(smallConfig(family, more));
    const original = await openCheckpoint(open());
    const foldings = findScaleFoldings(graph).filter((folding) => canFold(original, folding));
    expect(foldings.length).toBeGreaterThanOrEqual(3 * graph.layers);
    const view = foldedCheckpoint(original, foldings);
    const wanted = new Map<string, Float32Array>();
    for (const [i, folding] of foldings.entries()) {
      const factors = Float32Array.from({ length: folding.channels }, (_, at) => 2 ** (((at * 7 + i) % 9) - 4));
      view.set(folding, factors);
      for (const [name, numbers] of foldScales(folding, factors, (of) => wanted.get(of) ?? values(of))) {
        wanted.set(name, numbers);
      }
    }
    for (const { name, shape } of graph.weights) {
      const whole = decodeToF32(await view.checkpoint.read(name), 'F32');
      const expected = wanted.get(name) ?? values(name);
      expect(Buffer.from(whole.buffer).equals(Buffer.from(expected.buffer, expected.byteOffset)), name).toBe(true);
      // Some rows by themselves.
      const width = shape.slice(1).reduce((product, size) => product * size, 1);
      const some = decodeToF32(await view.checkpoint.read(name, 5, 3), 'F32');
      expect([...some]).toEqual([...expected.subarray(5 * width, 8 * width)]);
    }
    await original.close();
  });
});

const logitsOf = async (output: ReturnType<typeof memoryOutput>, graph: Graph): Promise<Float32Array> => {
  const files = memoryFolder('out', Object.fromEntries(output.files));
  const checkpoint = await openCheckpoint(files, { checkWeight });
  const weights = await loadWeights(gpu, checkpoint, graph);
  const decoder = new Decoder(gpu, graph, weights);
  const { logits } = await decoder.forward(Uint32Array.from(tokens));
  const values = new Float32Array((await gpu.readBack(logits.buffer, 0, 4 * tokens.length * graph.vocabulary)).buffer);
  decoder.release();
  for (const weight of weights.values()) weight.release();
  await checkpoint.close();
  return values;
};
const tokens = [5, 17, 80, 3, 44, 61, 9, 100, 2, 31];

/** Of the logits, relative to their size. */
function distance(a: Float32Array, b: Float64Array): number {
  let [sum, size] = [0, 0];
  for (const [i, value] of a.entries()) {
    sum += (value - b[i]!) ** 2;
    size += b[i]! ** 2;
  }
  return Math.sqrt(sum / size);
}

test('awq loses less than a search without it on inputs with outliers, and the model stays the same', async () => {
  const { graph, values, open } = await modelFolder(smallConfig(), outliers);
  const calibration = { windows: windowsOf(graph.vocabulary) };
  const run = async (format: string, method: 'search' | 'awq') => {
    const output = memoryOutput('out');
    const before = gpu.memory.bytesInUse;
    const report = await compress(open(), output, { gpu, format, method, calibration });
    expect(gpu.memory.bytesInUse).toBe(before);
    const far = distance(await logitsOf(output, graph), new ReferenceRun(graph, values).forward(tokens));
    return { report, output, far };
  };
  // Eight bits hold the weights as closely scaled as not: a factor in the wrong place would be far off.
  expect((await run('q8_0', 'awq')).far).toBeLessThan(2 * (await run('q8_0', 'search')).far);
  const [search, awq] = [await run('q4_0', 'search'), await run('q4_0', 'awq')];
  const lost = ({ report }: typeof awq) => report.tensors.reduce((sum, { error }) => sum + (error?.chosen ?? 0), 0);
  expect(lost(awq)).toBeLessThan(0.9 * lost(search));
  expect(awq.report.notices).toEqual(search.report.notices);
});

test('awq takes the factors that leave the least error, in one read a matrix', async () => {
  const [rows, k] = [24, 64];
  const random = randomSource(9);
  const scratch = new Scratch(gpu);
  const weights = Float32Array.from({ length: rows * k }, () => random() - 0.5);
  const meanAbs = Float32Array.from({ length: k }, (_, i) => (i % 16 === 3 ? 20 : 1) * (0.5 + random()));
  const meanSquare = meanAbs.map((mean) => 1.5 * mean * mean);
  const hessian = Float32Array.from({ length: k * k }, (_, at) =>
    at % (k + 1) === 0 ? meanSquare[at % k]! : 0.2 * meanAbs[at % k]! * meanAbs[Math.floor(at / k)]!,
  );
  const h = scratch.upload(hessian, 'H');
  const columns = { meanAbs, meanSquare, absMax: meanAbs };
  const format = formatByName('q4_0');
  // Twice the same rows: the errors are summed over matrices and slices.
  const matrix = {
    format,
    async *slices() {
      yield { view: scratch.upload(weights, 'rows'), rows, k };
    },
  };
  const before = { ...gpu.counters };
  const found = await awqScales(gpu, [matrix, matrix], h, columns, Uint32Array.from(meanAbs.keys()));
  // Of each matrix one, and one of the sizes of columns.
  expect(gpu.counters.readBacks - before.readBacks).toBe(3);
  /** 2 tr(ΔW H ΔWᵀ) in f64, of what the device quantizes. */
  const errorWith = async (factors: Float32Array): Promise<number> => {
    const scaled = weights.map((w, at) => w * factors[at % k]!);
    const result = allocateRows(gpu, format, rows, k, 'rows');
    const importance = scratch.upload(
      meanSquare.map((square, i) => square / factors[i]! ** 2),
      'importance',
    );
    await gpu.scheduler.run([
      quantizeStep({
        ...{ source: formatByName('f32'), from: scratch.upload(scaled, 'scaled'), format, to: result.arrays },
        ...{ rows, k, bad: result.bad, method: 'search', importance },
      }),
    ]);
    const { arrays } = await result.read();
    result.release();
    const lost = format.reference.dequantize(arrays, rows, k).map((q, at) => (q - scaled[at]!) / factors[at % k]!);
    let sum = 0;
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < k; i++) {
        for (let j = 0; j < k; j++) sum += lost[row * k + i]! * hessian[i * k + j]! * lost[row * k + j]!;
      }
    }
    return 2 * sum;
  };
  const errors: number[] = [];
  const meanWeight = Float32Array.from({ length: k }, (_, column) => {
    let sum = 0;
    for (let row = 0; row < rows; row++) sum += Math.abs(weights[row * k + column]!);
    return sum / rows;
  });
  for (const sizes of [undefined, meanWeight]) {
    for (let i = 0; i < 20; i++) errors.push(await errorWith(awqFactors(meanAbs, i / 20, sizes)));
  }
  expect(found.before / errors[0]!).toBeCloseTo(1, 4);
  expect(found.error / Math.min(...errors)).toBeCloseTo(1, 4);
  expect(found.alpha).toBeGreaterThan(0);
  expect(found.error).toBeLessThan(0.9 * found.before);
  scratch.release();
});

test('smoothquant makes activations in eight bits lose less on inputs with outliers', async () => {
  const { graph, values, open } = await modelFolder(smallConfig(), outliers);
  const calibration = { windows: windowsOf(graph.vocabulary) };
  const exact = new ReferenceRun(graph, values).forward(tokens);
  const far = async (method: 'rtn' | 'smoothquant') => {
    const output = memoryOutput('out');
    await compress(open(), output, { gpu, format: 'w8a8', method, calibration });
    return distance(await logitsOf(output, graph), exact);
  };
  expect(await far('smoothquant')).toBeLessThan(0.8 * (await far('rtn')));
});

test('statistics of a file scale as text does', async () => {
  const { graph, open } = await modelFolder(smallConfig(), outliers);
  const calibration = { windows: windowsOf(graph.vocabulary) };
  const sink = memorySink('statistics.safetensors');
  await calibrate(open(), sink, { gpu, calibration });
  const statistics = await readStatistics(memorySource('statistics.safetensors', sink.bytes()));
  const errors = async (inputs: object) => {
    const { tensors } = await compress(open(), memoryOutput('out'), { gpu, format: 'q4_0', method: 'awq', ...inputs });
    return tensors.flatMap(({ error }) => (error ? [error.chosen] : []));
  };
  const stored = await errors({ statistics });
  const direct = await errors({ calibration: { ...calibration, propagate: false } });
  expect(stored).toHaveLength(direct.length);
  for (const [i, error] of stored.entries()) expect(error / direct[i]!).toBeCloseTo(1, 2);
  await statistics.close();
});

test('methods that do not go with a format are refused', async () => {
  const { graph, open } = await modelFolder(smallConfig());
  const calibration = { windows: windowsOf(graph.vocabulary) };
  const run = (options: object) => compress(open(), memoryOutput('out'), { gpu, ...options });
  await expect(run({ format: 'q4_0', method: 'smoothquant', calibration })).rejects.toThrow(RecipeError);
  await expect(run({ format: 'w8a8', method: 'awq', calibration })).rejects.toThrow(/use smoothquant/);
  await expect(run({ format: 'q4_0', method: 'awq' })).rejects.toThrow(/needs a calibration text/);
});
