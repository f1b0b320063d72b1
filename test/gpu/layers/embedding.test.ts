import { expect, test } from 'vitest';
import { rowMultiple } from '../../../src/formats/layout.ts';
import { formats } from '../../../src/formats/registry.ts';
import type { Step } from '../../../src/gpu/kernel.ts';
import { embedding } from '../../../src/graph/reference/embedding.ts';
import { embeddingSteps } from '../../../src/kernels/embedding.ts';
import { uploadWeight, type Weight } from '../../../src/kernels/weight.ts';
import { SHAPES } from '../formats-under-test.ts';
import { Errors, filled, gaussian, generator, openBench, size } from './bench.ts';

const bench = openBench();

test(`every format: ${SHAPES} shapes, whole and in parts`, async () => {
  const next = generator(1);
  const errors = new Errors();
  const steps: Step[] = [];
  const cases = Array.from({ length: SHAPES }, (_, n) => {
    const format = formats[n % formats.length]!;
    const rows = size(next, 60);
    const k = format.kind === 'dense' ? size(next, 200) : format.block * size(next, 4);
    const tokens = size(next, 9);
    const weights = filled(rows * k, () => gaussian(next) * (next() < 0.01 ? 1000 : 1));
    const arrays = format.reference.quantize(weights, rows, k);
    const stored = format.reference.dequantize(arrays, rows, k);
    const ids = Array.from({ length: tokens }, () => Math.floor(next() * rows));
    const whole = uploadWeight(bench.gpu, format, rows, k, arrays, 'embedding');
    // Two parts: rows 0 .. 7 and the rest, as a small binding limit would split them.
    const divides = 8 % rowMultiple(format, k) === 0;
    const weight: Weight = n % 2 === 0 || rows <= 8 || !divides ? whole : split(whole, weights);
    const out = bench.room(tokens * k);
    const scale = n % 3 === 0 ? 1 : Math.fround(Math.sqrt(k));
    steps.push(...embeddingSteps({ ids: bench.upload(Uint32Array.from(ids)), weight, out, tokens, scale }));
    return { format, stored, ids, k, out, scale };
  });
  await bench.gpu.scheduler.run(steps);
  for (const { format, stored, ids, k, out, scale } of cases) {
    const wanted = embedding(ids, stored, k, scale);
    // Exact: nothing is computed beyond scale times code, which f32 holds. A factor rounds once.
    errors.compare(`${format.name}, width ${k}`, await bench.floats(out, wanted.length), wanted, (i) =>
      scale === 1 ? 0 : 2 ** -23 * Math.abs(wanted[i]!),
    );
  }
  bench.release();
  expect(errors.verdict('embedding')).toBe('');

  function split({ format, rows, k, kind }: Weight, weights: Float32Array): Weight {
    const part = (from: number, to: number) => {
      const arrays = format.reference.quantize(weights.slice(from * k, to * k), to - from, k);
      const { parts } = uploadWeight(bench.gpu, format, to - from, k, arrays, 'part');
      return { rowStart: from, rows: to - from, arrays: parts[0]!.arrays };
    };
    return { kind, format, rows, k, byteLength: 0, parts: [part(0, 8), part(8, rows)], release: () => {} };
  }
});

test('an id that is no row leaves the output alone', async () => {
  const weight = uploadWeight(
    bench.gpu,
    formats[0]!,
    2,
    3,
    formats[0]!.reference.quantize(
      filled(6, (i) => i),
      2,
      3,
    ),
    'w',
  );
  const out = bench.upload(new Float32Array(9).fill(9));
  await bench.gpu.scheduler.run(
    embeddingSteps({ ids: bench.upload(Uint32Array.of(2, 1, 0xffffffff)), weight, out, tokens: 3 }),
  );
  expect([...(await bench.floats(out, 9))]).toEqual([9, 9, 9, 3, 4, 5, 9, 9, 9]);
  bench.release();
});
