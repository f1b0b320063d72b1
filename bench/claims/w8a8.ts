import { readFileSync } from 'node:fs';
import {
  allocateWeight,
  bootstrapInterval,
  compress,
  formatByName,
  type Gpu,
  integerLinearSteps,
  linearSteps,
  median,
  memoryFolder,
  memoryOutput,
  nodeFolder,
  openCheckpoint,
  quantizeActivationsStep,
  type Step,
  uploadWeight,
  usualIntegerVariant,
  usualVariant,
  verify,
} from 'compressa';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';
import { inPairs } from '../in-pairs.ts';
import { random } from '../random.ts';

/** Eight-bit weights and activations: what they cost the sample model, that sums of integers are exact, and how fast they are. */
export const claim: Claim = {
  name: 'w8a8',
  measure: async (gpu) => [...(await accuracy(gpu)), await sums(gpu), ...(await speed(gpu))],
};

async function accuracy(gpu: Gpu): Promise<Measurement[]> {
  const bytes = readFileSync(`${SAMPLE_MODEL}/validation.tokens.u16`);
  const tokens = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
  const original = await openCheckpoint(await nodeFolder(SAMPLE_MODEL));
  const output = memoryOutput();
  await compress(await nodeFolder(SAMPLE_MODEL), output, { gpu, format: 'w8a8' });
  const compressed = await openCheckpoint(memoryFolder('w8a8', Object.fromEntries(output.files)));
  const report = await verify(original, compressed, { gpu, tokens, windows: 16, speed: false });
  await original.close();
  const { perplexity, control } = report.accuracy!;
  const increase = perplexity.compressed! / perplexity.original - 1;
  const error = report.kernels?.maxRelativeError ?? Number.NaN;
  return [
    {
      claim: 'perplexity increase, weights and activations in int8',
      threshold: 'under 1%',
      measured: `${(100 * increase).toFixed(3)}% (${perplexity.compressed!.toFixed(4)})`,
      pass: increase < 0.01,
    },
    {
      claim: 'control with shuffled rows',
      threshold: 'above 20x',
      measured: `${control!.ratio.toFixed(0)}x`,
      pass: control!.ratio > 20,
    },
    {
      claim: 'logits against f64 with the same integers, relative to the largest',
      threshold: 'under 1e-4',
      measured: error.toExponential(1),
      pass: error < 1e-4,
    },
  ];
}

const SHAPES = 200;

/** Sums of integers against a plain loop, over shapes of all kinds. */
async function sums(gpu: Gpu): Promise<Measurement> {
  const next = random(11);
  const upTo = (n: number) => 1 + Math.floor(next() * n);
  const format = formatByName('w8a8');
  let [wrong, all] = [0, 0];
  for (let shape = 0; shape < SHAPES; shape++) {
    const [rows, k, tokens] = [upTo(60), shape % 20 === 0 ? upTo(20_000) : upTo(500), shape % 2 ? upTo(4) : upTo(40)];
    const codes = (count: number) =>
      Int8Array.from({ length: count }, () => (shape % 3 ? Math.floor(next() * 255) - 127 : next() < 0.5 ? 127 : -127));
    const row = 4 * Math.ceil(k / 4);
    const padded = (from: Int8Array) => {
      const to = new Int8Array((from.length / k) * row);
      for (let r = 0; r < from.length / k; r++) to.set(from.subarray(r * k, (r + 1) * k), r * row);
      return new Uint8Array(to.buffer);
    };
    const [x, w] = [codes(tokens * k), codes(rows * k)];
    const arrays = { codes: padded(w), scales: new Uint8Array(4 * rows) };
    const weight = uploadWeight(gpu, format, rows, k, arrays, 'w');
    const buffers = [tokens * row, 4 * tokens, 4 * tokens * rows].map((size) => gpu.memory.allocate(size));
    const [xCodes, scales, y] = buffers.map((buffer) => ({ buffer })) as [
      { buffer: GPUBuffer },
      ...{ buffer: GPUBuffer }[],
    ];
    gpu.upload(xCodes.buffer, padded(x));
    for (const packed of gpu.selfTest?.multipliesPacked ? [false, true] : [false]) {
      await gpu.scheduler.run(
        integerLinearSteps({ x: { codes: xCodes, scales: scales! }, weight, y: y!, tokens, packed, sums: true }),
      );
      const got = new Int32Array((await gpu.readBack(y!.buffer, 0, 4 * tokens * rows)).buffer);
      for (let t = 0; t < tokens; t++) {
        for (let r = 0; r < rows; r++) {
          let sum = 0;
          for (let i = 0; i < k; i++) sum += x[t * k + i]! * w[r * k + i]!;
          if (got[t * rows + r] !== sum) wrong++;
          all++;
        }
      }
    }
    weight.release();
    for (const buffer of buffers) gpu.memory.release(buffer);
  }
  return {
    claim: `sums of integers that differ from a plain loop, ${SHAPES} shapes`,
    threshold: '0',
    measured: `${wrong} of ${all}`,
    pass: wrong === 0 && all > 0,
  };
}

const N = 1024;
const PAIRS = 15;

/** Time of a product in f32 or with int8-g32 weights, divided by that of quantizing x and multiplying in integers: interleaved pairs. */
async function speed(gpu: Gpu): Promise<Measurement[]> {
  const results: Measurement[] = [];
  const software = gpu.description.software;
  const packed = !software && gpu.selfTest?.multipliesPacked === true;
  for (const tokens of [1, 128]) {
    const buffers: GPUBuffer[] = [];
    const room = (size: number) => {
      const buffer = gpu.memory.allocate(size);
      buffers.push(buffer);
      return { buffer, size };
    };
    const [x, y] = [room(4 * tokens * N), room(4 * tokens * N)];
    const to = { codes: room(tokens * N), scales: room(4 * tokens) };
    const weights = ['w8a8', 'f32', 'int8-g32'].map((name) => allocateWeight(gpu, formatByName(name), N, N, name));
    const shape = { rows: N, k: N, tokens };
    const record = (steps: Step[]) => gpu.scheduler.record(Array.from({ length: 4 }, () => steps).flat(), 'timed');
    const integer = await record([
      quantizeActivationsStep({ x, to, tokens, k: N }),
      ...integerLinearSteps({
        x: to,
        weight: weights[0]!,
        y,
        tokens,
        packed,
        variant: usualIntegerVariant(gpu, shape),
      }),
    ]);
    for (const weight of weights.slice(1)) {
      const other = await record(
        linearSteps({ x, weight, y, tokens, variant: usualVariant(gpu, shape, weight.format) }),
      );
      const seconds = async (recording: typeof other) => {
        await gpu.idle();
        const start = performance.now();
        recording.submit();
        await gpu.idle();
        return performance.now() - start;
      };
      await seconds(other);
      await seconds(integer);
      const [others, integers] = await inPairs(
        PAIRS,
        () => seconds(other),
        () => seconds(integer),
      );
      const ratios = others.map((time, i) => time / integers[i]!);
      const [low, high] = bootstrapInterval(ratios);
      results.push({
        claim: `${N} x ${N} by ${tokens} tokens, quantizing included, against ${weight.format.name}`,
        threshold: 'at least 1x as fast at the lower end of the interval',
        measured: `${median(ratios).toFixed(2)}x (${low.toFixed(2)} to ${high.toFixed(2)})`,
        pass: low >= 1,
      });
      other.release();
    }
    integer.release();
    for (const weight of weights) weight.release();
    for (const buffer of buffers) gpu.memory.release(buffer);
  }
  return results;
}
