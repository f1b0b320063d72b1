import { afterAll, expect, test } from 'vitest';
import { blankWeights } from '../../bench/blank-weights.ts';
import { openOnnxEncoder } from '../../bench/peers/onnx-encoder.ts';
import { openPeersPage, type PeersPage } from '../../bench/peers-page/open.ts';
// The page itself runs in the browser.
import type {} from '../../bench/peers-page/page.ts';
import { formatByName } from '../../src/formats/registry.ts';

// The peers are large and nobody needs them to use the engine: `npm run peers` installs them.
const encoder = openOnnxEncoder();
const opened: PeersPage | string = typeof encoder === 'string' ? encoder : await openPeersPage(110_000);
const absent = typeof opened === 'string' ? opened : undefined;

afterAll(async () => {
  if (typeof opened !== 'string') await opened.close();
});

test.skipIf(absent)(
  `passes buffers between onnxruntime-web, TensorFlow.js and the engine on one device, without a read-back${absent ? ` (${absent})` : ''}`,
  async () => {
    if (typeof opened === 'string' || typeof encoder === 'string') return;
    const size = 128;
    const model = encoder.products(blankWeights('f32', size, 1), { size, tokens: 1 });
    const passed = await opened.page.evaluate((n, bytes) => window.throughAllThree(n, bytes), size, [...model.bytes]);
    expect([passed.mapped, passed.mappedBehind]).toEqual([0, 1]);

    // ONNX Runtime: W x. TensorFlow.js: W W. The engine: the latter quantized, times the former.
    const w = (row: number, column: number) => passed.weights[row * size + column]!;
    const range = Array.from({ length: size }, (_, i) => i);
    const sum = (term: (i: number) => number) => range.reduce((total, i) => total + term(i), 0);
    const first = range.map((row) => sum((i) => w(row, i) * passed.x[i]!));
    const square = Float32Array.from({ length: size * size }, (_, at) =>
      sum((i) => w(Math.floor(at / size), i) * w(i, at % size)),
    );
    const { reference } = formatByName('q8_0');
    const stored = reference.dequantize(reference.quantize(square, size, size), size, size);
    const expected = range.map((row) => sum((i) => stored[row * size + i]! * first[i]!));
    const largest = Math.max(...expected.map(Math.abs));
    // A square's last bit may move a code of eight bits by one step, of 128 in a row.
    for (const [row, value] of expected.entries())
      expect(Math.abs(passed.y[row]! - value) / largest).toBeLessThan(2e-3);
  },
);

test.skipIf(absent)('runs the documented examples, each on one device with its engine', async () => {
  if (typeof opened === 'string' || typeof encoder === 'string') return;
  const [size, tokens] = [128, 3];
  const model = encoder.map('Relu', [tokens, size], 'features');
  const bytes = [...model.bytes];
  const { onnx, tfjs } = await opened.page.evaluate((n, t, given) => window.examples(n, t, given), size, tokens, bytes);

  const weights = formatByName('q8_0').reference.dequantize(arraysOf(onnx.weight), size, size);
  const expected = Array.from({ length: tokens * size }, (_, at) => {
    const [token, row] = [Math.floor(at / size), at % size];
    let sum = 0;
    for (let i = 0; i < size; i++) sum += weights[row * size + i]! * Math.max(0, onnx.x[token * size + i]!);
    return sum;
  });
  const largest = Math.max(...expected.map(Math.abs));
  expect(largest).toBeGreaterThan(0.1);
  // Roundings of a sum in f32.
  for (const [i, value] of expected.entries()) expect(Math.abs(onnx.y[i]! - value) / largest).toBeLessThan(1e-5);

  const quantized = formatByName('q4_0').reference.quantize(Float32Array.from(tfjs.values), size, size);
  expect(arraysOf(tfjs.weight)).toEqual(quantized);
  expect(tfjs.refused).toMatch(/^The weight at row 2, column 5 of tensor "from TensorFlow.js" is NaN or infinite/);
});

test.skipIf(absent)('peers multiply as the suite wants it, on the engine’s device', async () => {
  if (typeof opened === 'string') return;
  // Of each operator one: SwiftShader compiles them for seconds.
  const shapes = ['f32', 'q4_0', 'q4_k'].map((format) => ({ format, n: 96, k: 512, batch: 5 }));
  const checked = await opened.page.evaluate((given) => window.contestants(given), shapes);
  for (const { name, case: of, error, tolerance } of checked) expect(error, `${name}, ${of}`).toBeLessThan(tolerance);
  expect(checked.map(({ name, case: of }) => [of, name])).toEqual([
    ['f32 96x512 batch 5', 'onnxruntime-web'],
    ['f32 96x512 batch 5', 'TensorFlow.js'],
    ['q4_0 96x512 batch 5', 'onnxruntime-web'],
    ['q4_0 96x512 batch 5', 'onnxruntime-web, int8 inputs'],
  ]);
});

const arraysOf = (listed: Readonly<Record<string, readonly number[]>>) =>
  Object.fromEntries(Object.entries(listed).map(([name, bytes]) => [name, Uint8Array.from(bytes)]));
