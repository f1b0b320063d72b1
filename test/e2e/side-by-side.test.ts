import { afterAll, expect, test } from 'vitest';
import { blankWeights } from '../../bench/blank-weights.ts';
import { openOnnxEncoder } from '../../bench/peers/onnx-model.ts';
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
    expect(passed.readBacks).toBe(0);

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
