import { expect, test } from 'vitest';
import { benchHtml } from '../../../bench/suite/report/html.ts';
import { benchMarkdown } from '../../../bench/suite/report/markdown.ts';
import { benchPlots } from '../../../bench/suite/report/plots.ts';
import type { Bench } from '../../../bench/suite/results-schema.ts';
import type { Plot } from '../../../src/report/plot.ts';
import { sampleBench, sampleCase, samplesAround } from './sample-bench.ts';

const product = (format: string, batch: number, ours: number, dense: number) =>
  sampleCase(
    {
      ...{ suite: 'linear', name: `${format} 64x32 batch ${batch}`, dimensions: { format, n: 64, k: 32, batch } },
      ...{ bytes: 3e6, operations: 4e6 },
    },
    { ours: samplesAround(ours), 'dense f32': samplesAround(dense) },
  );
const bench = sampleBench([
  product('q4_0', 1, 0.001, 0.002),
  product('q4_0', 16, 0.004, 0.003),
  { ...product('q8_0', 1, 0.001, 0.001), anchor: { before: 1, after: 2, attempts: 2, steady: false } },
  sampleCase(
    { suite: 'passes', name: 'quantize', bytes: 8e6, operations: null, items: { unit: 'weights', count: 2e6 } },
    { ours: samplesAround(0.004) },
  ),
]);

test('the page and the table say what was measured with what', async () => {
  const words =
    'Compressa 0.1.0, Node 20.0.0, webgpu 0.6.2, driver a driver 1.2, weights cycled through 64 MiB, --tune off, 2026-01-01T00:00:00.000Z, quick';
  expect(benchMarkdown(bench)).toContain(`\n${words}.\n`);
  expect(await benchHtml(bench)).toContain(`${words}</p>`);
  expect(benchMarkdown({ ...bench, complete: false })).toContain(', quick, cancelled before it was complete.');
  expect(benchMarkdown({ ...bench, complete: false, deviceLost: true })).toContain('ended by the loss of the device.');
});

test('the page has every plot that there is data for, and needs nothing else', async () => {
  expect(benchPlots(bench).map(({ title }) => title)).toEqual([
    'Roofline',
    'Speed-up over dense f32',
    'Batch size',
    'Products, one by one',
    'Passes',
  ]);
  expect(benchPlots(sampleBench())).toEqual([]);
  const html = await benchHtml({
    ...bench,
    failures: [{ suite: 'model', name: 'x', contestant: 'peer', message: 'a < b' }],
  });
  expect(html.split('<svg')).toHaveLength(1 + 5);
  expect(html).toContain('<h1>a device &lt;fast&gt;</h1>');
  expect(html).toContain('<li>model x, peer: a &lt; b</li>');
  expect(html).not.toMatch(/<script|<link|src=|href="http|NaN|undefined|\[object/);
});

const beside = sampleBench([
  {
    ...product('q4_0', 1, 0.001, 0.002),
    overPeers: [
      { peer: 'dense f32', ratio: 2.5, interval: [2.25, 2.75] },
      { peer: 'somebody', ratio: 0.5, interval: null },
    ],
  },
]);
const absent = { ...bench, absentPeers: [{ name: 'llama.cpp', reason: 'not installed <here>: npm run peers' }] };

test('peers: how much faster ours is, in Markdown, on the page and as bars; who is absent, and why', async () => {
  const lines = benchMarkdown(beside).split('\n');
  expect(lines).toContain('## Ours over its peers');
  expect(lines).toContain('| linear q4_0 64x32 batch 1 | dense f32 | 1 ms | 2 ms | 2.50x (2.25 to 2.75) |');
  expect(lines).toContain('|  | somebody | 1 ms |  | 0.50x |');
  expect(benchPlots(beside).map(({ title }) => title)).toContain('Ours over its peers');
  const html = await benchHtml(beside);
  expect(html).toContain('<td>2.50x (2.25 to 2.75)</td>');
  expect(html).not.toContain('Peers not in this run');

  expect(benchMarkdown(absent)).toContain(
    '## Peers not in this run\n\n- llama.cpp: not installed <here>: npm run peers',
  );
  expect(benchMarkdown(absent)).not.toContain('Ours over its peers');
  expect(await benchHtml(absent)).toContain('<li>llama.cpp: not installed &lt;here&gt;: npm run peers</li>');
});

// Samples of both are in proportion, so that every draw of pairs has the same ratio.
test('Markdown has a line for each contestant, and marks cases whose clock moved', () => {
  const lines = benchMarkdown(bench).split('\n');
  expect(lines).toContain('| q4_0 64x32 batch 1 | ours | 1 ms | 3 GB/s | 100% of memory | 2.00x (2.00 to 2.00) |');
  expect(lines).toContain('|  | dense f32 | 2 ms | 1.5 GB/s | 50% of memory | baseline |');
  expect(lines.some((line) => line.startsWith('| q8_0 64x32 batch 1 * | ours |'))).toBe(true);
  expect(lines.some((line) => line.startsWith('| quantize | ours | 4 ms | 500 M weights/s | 67% of memory |'))).toBe(
    true,
  );
});

test('both reports say how to read them, and what a star means where there is one', async () => {
  const untuned = 'Variants of our kernels are the usual ones: --tune quick or full chooses by timing.';
  const star = "*: the device's clock moved over this case.";
  for (const given of [bench, sampleBench()]) {
    const [markdown, html] = [benchMarkdown(given), await benchHtml(given)];
    expect(markdown).toContain('## How to read the tables\n\n- time: the median of one product');
    expect(markdown).toContain('\n- of roofline: the least time');
    expect(html).toContain('<li>speed-up: the time of the case&#39;s baseline');
    expect(markdown).toContain(`\n- ${untuned}\n`);
    expect(markdown.includes(`\n- \\${star}\n`)).toBe(given === bench);
    expect(html.includes('<li>*: the device')).toBe(given === bench);
  }
  expect(benchMarkdown({ ...bench, tune: 'full' })).not.toContain(untuned);
  expect(benchMarkdown(bench)).toContain('| case | contestant | time | rate | of roofline | speed-up |');
});

/** A product with what contestants say of it. */
const saying = (format: string, n: number, notes: Readonly<Record<string, string>>) => {
  const one = product(format, 1, 0.001, 0.002);
  const [ours] = one.contestants;
  return {
    ...one,
    ...{ name: `${format} ${n}`, dimensions: { format, n, batch: 1 } },
    contestants: Object.entries(notes).map(([name, note]) => ({ ...ours!, name, note })),
  };
};

test('what times include: each thing that a contestant says, and where it is true; counts of runs as ranges', async () => {
  const given = sampleBench([
    saying('f32', 64, { ours: '8 products over 3 copies', ONNX: 'MatMul: 8 products in one session' }),
    saying('q4_0', 64, { ours: '64 products over 3 copies', ONNX: '5 bits instead of 4.5: 8 products in one session' }),
    saying('q8_0', 64, { ours: '16 products over 2 copies', ONNX: '9 bits instead of 8.5: 8 products in one session' }),
    saying('q8_0', 96, { ours: '8 products over 3 copies', ONNX: '9 bits instead of 8.5: 4 products in 2 sessions' }),
  ]);
  const lines = [
    'linear, ours: 8 to 64 products over 2 to 3 copies',
    'linear, ONNX, f32: MatMul: 8 products in one session',
    'linear, ONNX, q4_0: 5 bits instead of 4.5: 8 products in one session',
    'linear, ONNX, q8_0: 9 bits instead of 8.5: 8 products in one session',
    'linear, ONNX, q8_0: 9 bits instead of 8.5: 4 products in 2 sessions',
  ];
  const list = ['roofline, the device: the device&#39;s note', ...lines];
  expect(await benchHtml(given)).toContain(
    `<summary>What times include</summary><ul>${list.map((line) => `<li>${line}</li>`).join('')}</ul>`,
  );
  expect(benchMarkdown(given)).toContain(
    `## What times include\n\n- roofline, the device: the device's note\n${lines.map((line) => `- ${line}\n`).join('')}`,
  );
});

test('of many cases with peers every suite is drawn, and how many of them', () => {
  const peered = (suite: string, count: number, batch: number, peer: string) =>
    Array.from({ length: count }, (_, i) => ({
      ...product('q4_0', batch, 0.001, 0.002),
      ...{ suite, name: `${batch} ${i}`, overPeers: [{ peer, ratio: 2, interval: null }] },
    }));
  const few = sampleBench([...peered('linear', 20, 1, 'ONNX'), ...peered('model', 2, 1, 'llama.cpp')]);
  const titlesOf = (given: Bench) => benchPlots(given).flatMap(({ title }) => (/peers/.test(title) ? [title] : []));
  expect(titlesOf(few)).toEqual(['Ours over its peers']);

  const many = sampleBench([
    ...peered('linear', 50, 1, 'ONNX'),
    ...peered('linear', 30, 16, 'ONNX'),
    ...peered('model', 2, 1, 'llama.cpp'),
  ]);
  const [one, sixteen, model] = titlesOf(many);
  expect([one, sixteen, model]).toEqual([
    'Ours over its peers: linear, batch 1',
    'Ours over its peers: linear, batch 16',
    'Ours over its peers: model',
  ]);
  expect(plotOf(many, one!).caption).toMatch(/ 40 of 50; the table has all\.$/);
  expect(drawn(plotOf(many, one!))).toHaveLength(40);
  expect(plotOf(many, sixteen!).caption).not.toMatch(/of 30/);
  expect(drawn(plotOf(many, model!)).map(({ peer }) => peer)).toEqual(['llama.cpp', 'llama.cpp']);
});

/** All that a plot draws, layer by layer. */
const drawn = (plot: Plot): Record<string, unknown>[] => {
  const { data, layer = [] } = plot.spec as { data?: { values: Record<string, unknown>[] }; layer?: Plot['spec'][] };
  return [...(data?.values ?? []), ...layer.flatMap((spec) => drawn({ ...plot, spec }))];
};
const plotOf = (given: Bench, title: string): Plot => benchPlots(given).find((plot) => plot.title === title)!;

test('where ours failed, nobody else is drawn in its place', () => {
  const failed = sampleBench(
    [1, 16].map((batch) => {
      const one = product('q4_0', batch, 0.001, 0.002);
      return { ...one, contestants: one.contestants.filter(({ name }) => name !== 'ours') };
    }),
  );
  expect(benchPlots(failed).map(({ title }) => title)).toEqual(['Products, one by one']);
  // What is faster than itself is no speed-up over dense, either.
  const alone = sampleBench([{ ...product('q4_0', 1, 0.001, 0.002), baseline: 'register tile' }]);
  expect(plotOf(alone, 'Speed-up over dense f32')).toBeUndefined();
});

test('ours has its color wherever it stands', () => {
  const one = product('q4_0', 1, 0.001, 0.002);
  for (const contestants of [one.contestants, one.contestants.toReversed()]) {
    const { spec } = plotOf(sampleBench([{ ...one, contestants }]), 'Products, one by one');
    const text = JSON.stringify(spec);
    const domain: string[] = JSON.parse(/"domain":(\[[^\]]*\])/.exec(text)![1]!);
    const range: string[] = JSON.parse(/"range":(\[[^\]]*\])/.exec(text)![1]!);
    expect(range[domain.indexOf('ours')]).toBe('#2f7ed8');
  }
});

test('each kind of arithmetic has its own roof', () => {
  const integers = { ...product('w8a8', 16, 0.001, 0.003), arithmetic: 'i8' as const };
  const given = sampleBench([product('q4_0', 16, 0.001, 0.002), integers]);
  given.roofline.gigaOperationsPerSecond.i8 = 80;
  const flats = (bench: Bench) => {
    const all = drawn(plotOf(bench, 'Roofline'));
    const of = (type: string) => all.filter(({ arithmetic, kind }) => arithmetic === type && kind === undefined);
    return ['f32', 'int8'].map((type) => Math.max(...of(type).map(({ rate }) => rate as number)));
  };
  expect(flats(given)).toEqual([20, 80]);
  // What the device has not is done in f32.
  given.roofline.gigaOperationsPerSecond.i8 = null;
  expect(flats(given)).toEqual([20, Number.NEGATIVE_INFINITY]);
});

test('of many cases every shape and batch is drawn, in plots that can be read', () => {
  const shapes = Array.from({ length: 11 }, (_, i) => 64 * (i + 1));
  const cases = shapes.flatMap((n) =>
    [1, 16].flatMap((batch) =>
      ['f32', 'f16', 'q8_0', 'q4_0', 'q4_k'].map((format) => {
        const one = product(format, batch, 0.001, 0.002);
        return { ...one, name: `${format} ${n} ${batch}`, dimensions: { ...one.dimensions, n } };
      }),
    ),
  );
  const given = sampleBench(cases);
  for (const batch of [1, 16]) {
    const names = [
      ...new Set(drawn(plotOf(given, `Products, one by one, batch ${batch}`)).map(({ name }) => String(name))),
    ];
    expect(names.length).toBeLessThanOrEqual(40);
    expect(new Set(names.map((name) => name.split(' ')[1]))).toEqual(new Set(shapes.map(String)));
    expect(new Set(names.map((name) => name.split(' ')[0])).size).toBe(5);
  }
});
