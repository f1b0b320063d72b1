import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NonFiniteError } from '../../../src/errors.ts';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { type TensorSpec, writeSafetensors } from '../../../src/files/safetensors-write.ts';
import { memoryOutput, memorySink } from '../../../src/files/sink.ts';
import { memorySource } from '../../../src/files/source.ts';
import type { HostArrays } from '../../../src/formats/format.ts';
import { rowMultiple } from '../../../src/formats/layout.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { openGpu } from '../../../src/gpu/open-gpu.ts';
import { linear } from '../../../src/graph/reference/linear.ts';
import { linearSteps } from '../../../src/kernels/linear.ts';
import { readWeight, uploadWeight } from '../../../src/kernels/weight.ts';
import { compress } from '../../../src/passes/compress.ts';
import { gatherRows, loadWeight } from '../../../src/passes/load-weights.ts';
import { compressRows } from '../../../src/passes/methods/compress-rows.ts';
import { roundWhole } from '../../../src/passes/methods/round-whole.ts';
import { checkWeight, findWeight, readValues } from '../../../src/passes/stored-weight.ts';
import { openTestGpu } from '../open-test-gpu.ts';
import { modelFolder, smallConfig, windowsOf } from '../small-model.ts';
import { gaussian, generator } from '../weight-cases.ts';

const nf4 = formatByName('nf4');

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());

/** Rows whose scales differ from block to block of 256 groups. */
function matrix(rows: number, k: number, seed: number): Float32Array {
  const next = generator(seed);
  return Float32Array.from({ length: rows * k }, (_, i) => gaussian(next) * (1 + Math.floor(i / (8 * k))));
}

/** A file of bare tensors. */
async function fileOf(tensors: Readonly<Record<string, readonly [number, number, Float32Array]>>) {
  const sink = memorySink();
  const specs = Object.entries(tensors).map(
    ([name, [rows, k]]): TensorSpec => ({ name, type: 'F32', shape: [rows, k] }),
  );
  const writer = await writeSafetensors(sink, specs);
  for (const [name, [, , values]] of Object.entries(tensors)) await writer.write(name, new Uint8Array(values.buffer));
  await writer.finish();
  return sink.bytes();
}

async function compressed(file: Uint8Array<ArrayBuffer>, options: object = {}): Promise<Uint8Array<ArrayBuffer>> {
  const sink = memorySink();
  await compress(memorySource('in', file), sink, { gpu, format: 'nf4', ...options });
  return sink.bytes();
}

const open = (bytes: Uint8Array<ArrayBuffer>) => openCheckpoint(memorySource('nf4', bytes), { checkWeight });

/** Without what pads them to words. */
async function storedArrays(bytes: Uint8Array<ArrayBuffer>, name: string): Promise<HostArrays> {
  const checkpoint = await open(bytes);
  const entries = nf4.arrays.map(
    async (array) => [array.name, await checkpoint.read(`${name}.${array.name}`)] as const,
  );
  return Object.fromEntries(await Promise.all(entries));
}

// Rows of an odd number of groups: blocks of 256 begin anywhere in a row.
describe.each([
  [203, 192],
  [300, 64],
  [70, 576],
  [1, 64],
])('%i x %i', (rows, k) => {
  const values = matrix(rows, k, rows);
  const wanted = nf4.reference.quantize(values, rows, k);
  const decoded = nf4.reference.dequantize(wanted, rows, k);

  test('in chunks it is what the whole is, and the reference', async () => {
    const file = await fileOf({ 'a.weight': [rows, k, values], 'b.weight': [rows, k, matrix(rows, k, 5)] });
    const whole = await compressed(file, { method: 'rtn' });
    // Eight rows at a time.
    const chunks = await compressed(file, { method: 'rtn', chunkBytes: 1 });
    expect(Buffer.compare(whole, chunks)).toBe(0);
    const stored = await storedArrays(whole, 'a.weight');
    for (const { name } of nf4.arrays) expect(stored[name]).toEqual(wanted[name]!.slice(0, stored[name]!.length));
    // Copied in chunks that begin anywhere.
    expect(Buffer.compare(await compressed(whole, { format: 'keep', chunkBytes: 1 }), whole)).toBe(0);
  });

  test('any rows of a file have the values of the whole', async () => {
    const checkpoint = await open(await compressed(await fileOf({ 'a.weight': [rows, k, values] })));
    const weight = findWeight(checkpoint, 'a.weight');
    const a = { name: 'a.weight', role: 'linear' as const };
    const next = generator(3);
    for (let n = 0; n < 20; n++) {
      const start = Math.floor(next() * rows);
      const count = 1 + Math.floor(next() * (rows - start));
      const part = decoded.subarray(start * k, (start + count) * k);
      expect(await readValues(checkpoint, weight, start, count)).toEqual(part);
      const loaded = await loadWeight(gpu, checkpoint, a, { rows: { start, count } });
      const got = loaded.format.reference.dequantize(await readWeight(gpu, loaded), count, k);
      loaded.release();
      expect(got).toEqual(part);
    }
    const some = Uint32Array.of(0, Math.floor(rows / 3), rows - 1).filter((row, i, all) => all.indexOf(row) === i);
    const gathered = await gatherRows(gpu, checkpoint, a, some);
    const got = gathered.format.reference.dequantize(await readWeight(gpu, gathered), some.length, k);
    for (const [i, row] of some.entries()) {
      expect(got.subarray(i * k, (i + 1) * k)).toEqual(decoded.subarray(row * k, (row + 1) * k));
    }
    gathered.release();
    const loaded = await loadWeight(gpu, checkpoint, a, { chunkBytes: 1 });
    expect(loaded.format).toBe(nf4);
    expect(await readWeight(gpu, loaded)).toEqual(wanted);
    loaded.release();
  });

  test('split over several buffers it computes as one', async () => {
    const limited = await openGpu({ device: gpu.device, bindingLimit: (256 * k) / 2 });
    const weight = uploadWeight(limited, nf4, rows, k, wanted, 'split');
    for (const { rowStart } of weight.parts) expect(rowStart % rowMultiple(nf4, k)).toBe(0);
    expect(weight.parts.length).toBe(Math.ceil(rows / 256));
    expect(await readWeight(gpu, weight)).toEqual(wanted);
    const x = Float32Array.from({ length: 6 * k }, (_, i) => Math.cos(i));
    const xBuffer = gpu.memory.allocate(x.byteLength);
    gpu.upload(xBuffer, new Uint8Array(x.buffer));
    const y = gpu.memory.allocate(6 * rows * 4);
    const steps = linearSteps({ x: { buffer: xBuffer, size: x.byteLength }, weight, y: { buffer: y }, tokens: 6 });
    await gpu.scheduler.run(steps);
    const got = new Float32Array((await gpu.readBack(y, 0, 6 * rows * 4)).buffer);
    for (const [i, value] of linear(x, decoded, k).entries()) {
      // Sums of k products, each of up to some hundred in the last rows.
      expect(Math.abs(got[i]! - value)).toBeLessThan(2 ** -20 * k * rows);
    }
    weight.release();
    gpu.memory.release(xBuffer);
    gpu.memory.release(y);
  });
});

test('methods that take some rows at a time start from the scales of the whole', async () => {
  const [rows, k] = [600, 192];
  const values = matrix(rows, k, 8);
  const wanted = nf4.reference.quantize(values, rows, k);
  const checkpoint = await openCheckpoint(memorySource('in', await fileOf({ 'a.weight': [rows, k, values] })));
  // Slices of 256 rows, to which blocks of 256 groups are cut.
  const limited = await openGpu({ device: gpu.device, bindingLimit: 256 * 4 * k });
  const rounded = await roundWhole(limited, checkpoint, checkpoint.tensors.get('a.weight')!, nf4);
  for (const { name } of nf4.arrays) expect(rounded[name]).toEqual(wanted[name]);
  const view = { buffer: gpu.memory.allocate(values.byteLength), size: values.byteLength };
  gpu.upload(view.buffer, new Uint8Array(values.buffer));
  const importance = new Float32Array(k).fill(1);
  const { arrays, errors } = await compressRows(
    gpu,
    { view, rows, k },
    nf4,
    { method: 'rtn', rounds: 0, rounded },
    { importance },
  );
  for (const { name } of nf4.arrays) expect(arrays[name]).toEqual(wanted[name]);
  const decoded = nf4.reference.dequantize(wanted, rows, k);
  const lost = values.reduce((sum, w, i) => sum + (w - decoded[i]!) ** 2, 0);
  // Sums of f32.
  expect(Math.abs(errors.chosen / lost - 1)).toBeLessThan(1e-4);
  gpu.memory.release(view.buffer);
});

test('gptq keeps the scales of rounding and loses less, awq loses no more', async () => {
  const { graph, values, open: folder } = await modelFolder(smallConfig('Llama', { intermediate_size: 128 }));
  const calibration = { windows: windowsOf(graph.vocabulary) };
  for (const method of ['gptq', 'awq'] as const) {
    const output = memoryOutput('out');
    const report = await compress(folder(), output, { gpu, format: 'nf4', method, calibration });
    const matrices = report.tensors.filter(({ role }) => role === 'linear');
    expect(matrices).toHaveLength(14);
    for (const { error } of matrices) expect(error!.chosen).toBeLessThanOrEqual(error!.rtn);
    const sum = (of: 'rtn' | 'chosen') => matrices.reduce((total, { error }) => total + error![of], 0);
    if (method === 'awq') continue;
    expect(sum('chosen')).toBeLessThan(0.8 * sum('rtn'));
    const checkpoint = await openCheckpoint(memoryFolder('out', Object.fromEntries(output.files)), { checkWeight });
    for (const { name, shape } of matrices) {
      const [rows, k] = shape as [number, number];
      const { scales, nested, codes } = nf4.reference.quantize(values(name), rows, k);
      expect(await checkpoint.read(`${name}.scales`)).toEqual(scales!.slice(0, (rows * k) / 64));
      expect(await checkpoint.read(`${name}.nested`)).toEqual(nested);
      expect(await checkpoint.read(`${name}.codes`)).not.toEqual(codes);
    }
  }
});

test('a weight that is not finite, and a scale in a file that is not', async () => {
  const values = matrix(40, 64, 2);
  values[64 * 37 + 5] = Number.POSITIVE_INFINITY;
  await expect(compressed(await fileOf({ 'a.weight': [40, 64, values] }), { chunkBytes: 1 })).rejects.toThrow(
    /row 37, column 5 of tensor "a.weight"/,
  );
  const bytes = await compressed(await fileOf({ 'a.weight': [40, 64, matrix(40, 64, 2)] }));
  const damaged = bytes.slice();
  // The offset of the last block: the last four bytes.
  new DataView(damaged.buffer).setUint32(damaged.length - 4, 0x7fc00000, true);
  await expect(compressed(damaged, { format: 'keep' })).rejects.toThrow(NonFiniteError);
  await expect(compressed(damaged, { format: 'keep' })).rejects.toThrow(/\(nf4\), the nested hold a value/);
});
