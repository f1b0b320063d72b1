import {
  type BufferView,
  blockIntegerLinearSteps,
  formatByName,
  type Gpu,
  linearSteps,
  quantizeBlocksStep,
  uploadWeight,
} from 'compressa';
import type { Claim } from '../claim.ts';
import { gaussian, random } from '../random.ts';

const [ROWS, K, TOKENS] = [2048, 2048, 32];
/** Of the error that rounding is expected to make; that of a draw of so many values lies within a few percent of it. */
const MOST = 1.1;

/**
 * The expected error of a product, relative to its size, where each activation is off by a step over the root of twelve, a step being 1/127 of the largest
 * magnitude of 32 columns: weights that are independent of the activations keep the ratio.
 */
function expectedError(x: Float32Array): number {
  let [errors, values] = [0, 0];
  for (let at = 0; at < x.length; at += 32) {
    const block = x.subarray(at, at + 32);
    const largest = block.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    errors += (32 * (largest / 127) ** 2) / 12;
    values += block.reduce((sum, value) => sum + value ** 2, 0);
  }
  return Math.sqrt(errors / values);
}

/**
 * What it costs to round activations to eight bits, by 32 columns of a token: the distance to the same product in f32, relative to its size, of normal
 * weights and activations, and of activations with a column of 64 times the size, beside what the size of a step makes one expect. The control multiplies
 * with another weight.
 */
export const claim: Claim = {
  name: 'block integers',
  async measure(gpu) {
    const next = random(5);
    const values = (count: number) => Float32Array.from({ length: count }, () => gaussian(next));
    const x = values(TOKENS * K);
    const outliers = x.map((value, i) => (i % K === 77 ? 64 * value : value));
    const measurements = [];
    for (const name of ['q4_0', 'q8_0']) {
      const [w, other] = [values(ROWS * K), values(ROWS * K)];
      const given = [
        { what: 'normal activations', input: x },
        { what: 'with a column of outliers', input: outliers },
      ];
      const control = await errorOf(gpu, name, w, other, x);
      for (const { what, input } of given) {
        const most = MOST * expectedError(input);
        const error = await errorOf(gpu, name, w, w, input);
        measurements.push({
          claim: `${name}, ${what}: error of int8 activations; with another weight ${control.toFixed(2)}`,
          threshold: `at most ${most.toExponential(2)}, ${MOST} times what is expected; the control more than 1`,
          measured: error.toExponential(2),
          pass: error <= most && control > 1,
        });
      }
    }
    return measurements;
  },
};

async function errorOf(gpu: Gpu, name: string, w: Float32Array, other: Float32Array, x: Float32Array): Promise<number> {
  const format = formatByName(name);
  const buffers: GPUBuffer[] = [];
  const room = (bytes: number): BufferView => {
    const buffer = gpu.memory.allocate(bytes);
    buffers.push(buffer);
    return { buffer, size: bytes };
  };
  const weightOf = (of: Float32Array) =>
    uploadWeight(gpu, format, ROWS, K, format.reference.quantize(of, ROWS, K), 'weight');
  const [exact, rounded] = [weightOf(w), weightOf(other)];
  const from = room(x.byteLength);
  gpu.upload(from.buffer, new Uint8Array(x.buffer, x.byteOffset, x.byteLength));
  const to = { codes: room(TOKENS * K), scales: room((TOKENS * K) / 8) };
  const [y, yRounded] = [room(4 * TOKENS * ROWS), room(4 * TOKENS * ROWS)];
  await gpu.scheduler.run([
    ...linearSteps({ x: from, weight: exact, y, tokens: TOKENS }),
    quantizeBlocksStep({ x: from, to, tokens: TOKENS, k: K }),
    ...blockIntegerLinearSteps({ x: to, weight: rounded, y: yRounded, tokens: TOKENS }),
  ]);
  const read = async ({ buffer, size }: BufferView) => new Float32Array((await gpu.readBack(buffer, 0, size!)).buffer);
  const [want, got] = [await read(y), await read(yRounded)];
  const squares = (of: Float32Array) => of.reduce((sum, value) => sum + value ** 2, 0);
  const error = Math.sqrt(squares(got.map((value, i) => value - want[i]!)) / squares(want));
  for (const buffer of buffers) gpu.memory.release(buffer);
  for (const weight of [exact, rounded]) weight.release();
  return error;
}
