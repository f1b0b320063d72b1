import { expect, test } from 'vitest';
import { formatByName } from '../../../src/formats/registry.ts';
import { applyMaskStep } from '../../../src/kernels/apply-mask.ts';
import { checkPattern, type MaskPattern, maskWords } from '../../../src/kernels/mask-pattern.ts';
import { throwIfNonFinite } from '../../../src/kernels/quantize.ts';
import { blockScores, type HostMatrix, selectMasks } from '../../../src/kernels/reference/select-mask.ts';
import { maskRoom, SELECTION_BYTES, selectMaskSteps } from '../../../src/kernels/select-mask.ts';
import { SHAPES } from '../formats-under-test.ts';
import { filled, gaussian, generator, openBench, size } from '../layers/bench.ts';

const bench = openBench();
const f32 = formatByName('f32');

const upload = (bytes: Uint8Array) => bench.upload(new Uint32Array(bytes.slice().buffer));

/** Masks of matrices by the GPU, and what it says of weights that are not finite. */
async function select(matrices: readonly HostMatrix[], pattern: MaskPattern, source = f32) {
  const bad = bench.upload(Uint32Array.of(0));
  const placed = matrices.map(({ weights, rows, k, factors }) => {
    const room = Object.entries(maskRoom(pattern, rows, k)).filter(([, bytes]) => bytes > 0);
    const from = source === f32 ? bench.upload(weights) : upload(source.reference.quantize(weights, rows, k).data!);
    return {
      ...{ source, from, rows, k, bad, mask: bench.room(maskWords(rows, k)) },
      ...(factors && { factors: bench.upload(factors) }),
      room: Object.fromEntries(room.map(([name, bytes]) => [name, bench.room(bytes / 4)])),
    };
  });
  const room = {
    selection: bench.room(SELECTION_BYTES.selection / 4),
    totals: bench.room(SELECTION_BYTES.totals / 4),
    counts: bench.room(SELECTION_BYTES.counts / 4),
  };
  await bench.gpu.scheduler.run(selectMaskSteps({ matrices: placed, pattern, room }));
  const masks = await Promise.all(placed.map(({ mask, rows, k }) => bench.words(mask, maskWords(rows, k))));
  return { masks, placed, bad: (await bench.words(bad, 1))[0]! };
}

const popcount = (mask: Uint32Array) =>
  mask.reduce((sum, word) => sum + word.toString(2).replaceAll('0', '').length, 0);

const KINDS = ['numbers', 'few values', 'zeros', 'denormals', 'sixteenths'] as const;

function matrix(next: () => number, kind: (typeof KINDS)[number], most: number): HostMatrix {
  const [rows, k] = [size(next, most), size(next, most)];
  const value = () => {
    if (kind === 'zeros') return next() < 0.7 ? (next() < 0.5 ? 0 : -0) : gaussian(next);
    if (kind === 'few values') return Math.round(2 * gaussian(next));
    if (kind === 'denormals') return gaussian(next) * 2 ** (-150 + 30 * next());
    if (kind === 'sixteenths') return Math.round(8 * gaussian(next)) / 16;
    return gaussian(next) * 10 ** Math.floor(-3 * next());
  };
  const weights = filled(rows * k, value);
  if (next() < 0.5) return { weights, rows, k };
  const factors = filled(k, (i) =>
    i % 7 === 3 ? 0 : kind === 'sixteenths' ? 2 ** Math.floor(3 * next()) : 0.1 + next(),
  );
  return { weights, rows, k, factors };
}

test('the 200 shapes: N:M of any size', async () => {
  const next = generator(1);
  for (let shape = 0; shape < SHAPES; shape++) {
    const of = 2 + Math.floor(next() * 15);
    const keep = 1 + Math.floor(next() * (of - 1));
    const one = matrix(next, KINDS[shape % KINDS.length]!, 150);
    const { masks, bad } = await select([one], { kind: 'n:m', keep, of });
    expect(masks, `${keep}:${of}, ${one.rows}x${one.k}`).toEqual(selectMasks([one], { kind: 'n:m', keep, of }));
    expect(bad).toBe(0);
    if (one.k % of === 0) expect(popcount(masks[0]!)).toBe((one.rows * one.k * keep) / of);
    bench.release();
  }
});

test('the 200 shapes: the least of rows, layers and models', async () => {
  const next = generator(2);
  for (let shape = 0; shape < SHAPES; shape++) {
    const scope = (['row', 'layer', 'model'] as const)[shape % 3]!;
    const count = scope === 'model' ? 1 + Math.floor(3 * next()) : 1;
    const matrices = Array.from({ length: count }, () => matrix(next, KINDS[shape % KINDS.length]!, 200));
    const all = matrices.reduce((sum, { rows, k }) => sum + rows * k, 0);
    const blocks = scope === 'row' ? matrices[0]!.k : all;
    const remove =
      next() < 0.5 && blocks > 1
        ? { count: 1 + Math.floor(next() * (blocks - 1)) }
        : { fraction: 0.01 + 0.98 * next() };
    const pattern: MaskPattern = { kind: 'ranked', rows: 1, columns: 1, scope, remove };
    const { masks, bad } = await select(matrices, pattern);
    expect(masks, `${scope}, ${matrices.map(({ rows, k }) => `${rows}x${k}`)}`).toEqual(selectMasks(matrices, pattern));
    const removed = 'count' in remove ? remove.count! : Math.floor(remove.fraction * blocks);
    const kept = masks.reduce((sum, mask) => sum + popcount(mask), 0);
    expect(kept).toBe(all - removed * (scope === 'row' ? matrices[0]!.rows : 1));
    expect(bad).toBe(0);
    bench.release();
  }
});

/** Factors whose products are exact as well. */
const exactly = ({ factors, ...one }: HostMatrix): HostMatrix => ({
  ...one,
  ...(factors && { factors: factors.map((factor) => (factor === 0 ? 0 : 2 ** Math.round(factor))) }),
});

// Sums of squares of sixteenths, up to 64 times 64 of them, are exact in f32: the masks have to be equal, ties included.
test('the 200 shapes: blocks and patterns that rows share, where sums are exact', async () => {
  const next = generator(3);
  const sizes = [
    [16, 16],
    [32, 32],
    [1, 8],
    [4, 1],
    [3, 5],
    [64, 33],
  ] as const;
  for (let shape = 0; shape < SHAPES; shape++) {
    // Squares of denormals count as zero, so that they are all alike.
    const kind = (['sixteenths', 'sixteenths', 'few values', 'denormals'] as const)[Math.floor(next() * 4)]!;
    const matrices = Array.from({ length: 1 + (shape % 2) }, () => exactly(matrix(next, kind, 200)));
    const [rows, columns] = sizes[shape % sizes.length]!;
    const of = 2 + Math.floor(next() * 15);
    const scope = (['row', 'layer', 'model'] as const)[Math.floor(next() * 3)]!;
    const ranked: MaskPattern = { kind: 'ranked', rows, columns, scope, remove: { fraction: 0.05 + 0.9 * next() } };
    const shared: MaskPattern = {
      kind: 'n:m',
      keep: 1 + Math.floor(next() * (of - 1)),
      of,
      rows: [4, 8, 16][shape % 3]!,
    };
    const pattern = shape % 4 === 3 ? shared : ranked;
    const { masks } = await select(matrices, pattern);
    expect(masks, `${JSON.stringify(pattern)}, ${matrices.map((m) => `${m.rows}x${m.k}`)}`).toEqual(
      selectMasks(matrices, pattern),
    );
    bench.release();
  }
});

/** What is compared with each other: scores, and which stay by the mask. */
function* comparisons(
  matrices: readonly HostMatrix[],
  masks: readonly Uint32Array[],
  pattern: MaskPattern,
): Generator<{ readonly scores: readonly number[]; readonly stays: readonly boolean[] }> {
  const [height, width] = [pattern.rows ?? 1, pattern.kind === 'n:m' ? 1 : pattern.columns];
  const all = matrices.map((one, i) => {
    const across = Math.ceil(one.k / width);
    const words = Math.ceil(one.k / 32);
    const scores = blockScores(one, height, width);
    const stays = scores.map((_, block) => {
      const [row, column] = [Math.floor(block / across) * height, (block % across) * width];
      return ((masks[i]![row * words + (column >> 5)]! >>> (column & 31)) & 1) === 1;
    });
    return { across, scores, stays };
  });
  if (pattern.kind === 'ranked' && pattern.scope === 'model') {
    yield { scores: all.flatMap(({ scores }) => scores), stays: all.flatMap(({ stays }) => stays) };
    return;
  }
  for (const { across, scores, stays } of all) {
    const row = pattern.kind === 'ranked' && pattern.scope === 'layer' ? scores.length : across;
    const length = pattern.kind === 'n:m' ? pattern.of : row;
    for (let first = 0; first < scores.length; first += row) {
      for (let at = first; at < first + row; at += length) {
        const end = Math.min(at + length, first + row);
        yield { scores: scores.slice(at, end), stays: stays.slice(at, end) };
      }
    }
  }
}

// In f32, sums of squares of V weights are off by V · 2^-23 at most, so blocks that close to the threshold may change places; the count may not.
test('the 200 shapes: blocks and patterns that rows share, of any numbers: exact counts, and only the least go', async () => {
  const next = generator(4);
  const sizes = [
    [16, 16],
    [8, 4],
    [1, 8],
    [32, 32],
  ] as const;
  for (let shape = 0; shape < SHAPES; shape++) {
    const matrices = Array.from({ length: 1 + (shape % 2) }, () => matrix(next, 'numbers', 200));
    const [rows, columns] = sizes[shape % sizes.length]!;
    const scope = (['row', 'layer', 'model'] as const)[Math.floor(next() * 3)]!;
    const of = 2 + Math.floor(next() * 15);
    const keep = 1 + Math.floor(next() * (of - 1));
    const pattern: MaskPattern =
      shape % 3 === 2
        ? { kind: 'n:m', keep, of, rows: [4, 8, 16][shape % 3]! }
        : { kind: 'ranked', rows, columns, scope, remove: { fraction: 0.05 + 0.9 * next() } };
    const { masks } = await select(matrices, pattern);
    const weights = (pattern.rows ?? 1) * (pattern.kind === 'n:m' ? 1 : columns);
    for (const { scores, stays } of comparisons(matrices, masks, pattern)) {
      const gone = stays.filter((stay) => !stay).length;
      const wanted =
        pattern.kind === 'n:m'
          ? Math.max(0, scores.length - keep)
          : Math.floor((pattern.remove as { fraction: number }).fraction * scores.length);
      expect(gone, JSON.stringify(pattern)).toBe(wanted);
      const least = Math.min(...scores.filter((_, i) => stays[i]), Number.MAX_VALUE);
      const most = Math.max(...scores.filter((_, i) => !stays[i]), 0);
      expect(most).toBeLessThanOrEqual(least * (1 + weights * 2 ** -22));
    }
    bench.release();
  }
});

test.each(['f16', 'bf16'])('%s weights, and zeros put in their place', async (name) => {
  const next = generator(5);
  const source = formatByName(name);
  for (let shape = 0; shape < 24; shape++) {
    const one = matrix(next, 'few values', 90);
    const pattern: MaskPattern =
      shape % 2 === 0
        ? { kind: 'n:m', keep: 2, of: 4 }
        : { kind: 'ranked', rows: 1, columns: 1, scope: 'layer', remove: { fraction: 0.4 } };
    const { masks, placed } = await select([one], pattern, source);
    expect(masks).toEqual(selectMasks([one], pattern));
    const { from: data, mask, rows, k } = placed[0]!;
    await bench.gpu.scheduler.run([applyMaskStep({ format: source, data, mask, rows, k })]);
    const words = await bench.words(data, Math.ceil((rows * k) / 2));
    const values = source.reference.dequantize({ data: new Uint8Array(words.buffer) }, rows, k);
    const wordsOfRow = Math.ceil(k / 32);
    const wanted = one.weights.map((w, at) => {
      const [row, column] = [Math.floor(at / k), at % k];
      return (masks[0]![row * wordsOfRow + (column >> 5)]! >>> (column & 31)) & 1 ? w : 0;
    });
    expect(values.map((value) => value + 0)).toEqual(wanted.map((value) => value + 0));
    bench.release();
  }
});

test('weights that are not finite are named', async () => {
  const pattern: MaskPattern[] = [
    { kind: 'n:m', keep: 2, of: 4 },
    { kind: 'n:m', keep: 2, of: 5 },
    { kind: 'n:m', keep: 1, of: 4, rows: 4 },
    { kind: 'ranked', rows: 1, columns: 1, scope: 'row', remove: { count: 1 } },
    { kind: 'ranked', rows: 1, columns: 1, scope: 'layer', remove: { count: 1 } },
    { kind: 'ranked', rows: 2, columns: 2, scope: 'model', remove: { count: 1 } },
  ];
  for (const one of pattern) {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const weights = filled(12 * 10, (i) => i);
      weights[37] = bad;
      weights[99] = bad;
      const found = await select([{ weights, rows: 12, k: 10 }], one);
      expect(() => throwIfNonFinite(found.bad, 10, 'w')).toThrow('row 3, column 7 of tensor "w"');
    }
  }
  bench.release();
});

test('the same inputs give the same masks, whatever the room held', async () => {
  const next = generator(6);
  const weights = filled(700 * 350, () => Math.round(4 * gaussian(next)) / 4);
  const pattern: MaskPattern = { kind: 'ranked', rows: 1, columns: 1, scope: 'layer', remove: { fraction: 0.6 } };
  const [first, second] = [
    await select([{ weights, rows: 700, k: 350 }], pattern),
    await select([{ weights, rows: 700, k: 350 }], pattern),
  ];
  expect(second.masks).toEqual(first.masks);
  expect(first.masks).toEqual(selectMasks([{ weights, rows: 700, k: 350 }], pattern));
  bench.release();
});

// More than 2^23 weights: workgroups that count take several tiles each.
test('a matrix of 2^23 weights and more: ties at the threshold are kept in order', async () => {
  const [rows, k] = [2909, 2900];
  const next = generator(7);
  const levels = 500;
  const weights = filled(rows * k, () => Math.floor(levels * next()));
  const pattern: MaskPattern = { kind: 'ranked', rows: 1, columns: 1, scope: 'layer', remove: { fraction: 0.37 } };
  const { masks } = await select([{ weights, rows, k }], pattern);
  const counts = new Uint32Array(levels);
  for (const w of weights) counts[w]!++;
  let stay = rows * k - Math.floor(0.37 * rows * k);
  let threshold = levels - 1;
  for (; counts[threshold]! < stay; threshold--) stay -= counts[threshold]!;
  const wanted = new Uint32Array(maskWords(rows, k));
  const words = maskWords(1, k);
  for (const [i, w] of weights.entries()) {
    if (w < threshold || (w === threshold && stay-- <= 0)) continue;
    wanted[Math.floor(i / k) * words + ((i % k) >> 5)]! |= 1 << ((i % k) & 31);
  }
  expect(masks[0]!.every((word, i) => word === wanted[i])).toBe(true);
  bench.release();
});

test('counts are those of the share that was asked for, where its product in f64 is just below a whole number', async () => {
  const single = { kind: 'ranked', rows: 1, columns: 1 } as const;
  const weights = filled(2 * 3200, (i) => (i * 37) % 3200);
  const byRow = await select([{ weights, rows: 2, k: 3200 }], { ...single, scope: 'row', remove: { fraction: 0.29 } });
  // 928 of each row go.
  expect([0, 1].map((row) => popcount(byRow.masks[0]!.subarray(100 * row, 100 * (row + 1))))).toEqual([2272, 2272]);
  const square = { weights: weights.subarray(0, 100), rows: 10, k: 10 };
  const byLayer = await select([square], { ...single, scope: 'layer', remove: { fraction: 0.57 } });
  expect(popcount(byLayer.masks[0]!)).toBe(43);
  bench.release();
});

test('over a model, weights are read four times and nothing is read back', async () => {
  const pattern: MaskPattern = { kind: 'ranked', rows: 1, columns: 1, scope: 'model', remove: { fraction: 0.5 } };
  const matrices = [64, 33].map((rows) => ({ weights: filled(rows * 40, (i) => i % 7), rows, k: 40 }));
  const { placed } = await select(matrices, pattern);
  const room = {
    selection: bench.room(SELECTION_BYTES.selection / 4),
    totals: bench.room(SELECTION_BYTES.totals / 4),
    counts: bench.room(SELECTION_BYTES.counts / 4),
  };
  const steps = selectMaskSteps({ matrices: placed, pattern, room });
  for (const { from } of placed) {
    expect(steps.filter(({ weight }) => weight?.some(({ buffer }) => buffer === from.buffer))).toHaveLength(4);
  }
  const before = bench.gpu.counters.readBacks;
  await bench.gpu.scheduler.run(steps);
  expect(bench.gpu.counters.readBacks).toBe(before);
  bench.release();
});

test('patterns that make no sense', () => {
  expect(() => checkPattern({ kind: 'n:m', keep: 4, of: 4 })).toThrow('keep 1 to 3');
  expect(() => checkPattern({ kind: 'n:m', keep: 1, of: 17 })).toThrow('2 to 16');
  expect(() => checkPattern({ kind: 'n:m', keep: 1, of: 4, rows: 0 })).toThrow('whole number from 1');
  const ranked = { kind: 'ranked', rows: 1, columns: 1, scope: 'layer' } as const;
  expect(() => checkPattern({ ...ranked, remove: { fraction: 1 } })).toThrow('something is left');
  expect(() => checkPattern({ ...ranked, remove: { count: 0 } })).toThrow('whole number from 1');
  expect(() => checkPattern({ ...ranked, rows: 0, remove: { count: 1 } })).toThrow('no blocks of 0 x 1');
});

test('a target that leaves nothing', async () => {
  const pattern: MaskPattern = { kind: 'ranked', rows: 2, columns: 2, scope: 'layer', remove: { count: 4 } };
  await expect(select([{ weights: filled(16, (i) => i), rows: 4, k: 4 }], pattern)).rejects.toThrow('remove at most 3');
  bench.release();
});
