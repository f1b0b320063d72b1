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
    'Compressa 0.1.0, Node 20.0.0, webgpu 0.6.2, driver a driver 1.2, weights cycled through 64 MiB, 2026-01-01T00:00:00.000Z, quick';
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
  expect(lines).toContain('|  | dense f32 | 2 ms | 1.5 GB/s | 50% of memory |  |');
  expect(lines.some((line) => line.startsWith('| q8_0 64x32 batch 1 * | ours |'))).toBe(true);
  expect(lines.some((line) => line.startsWith('| quantize | ours | 4 ms | 500 M weights/s | 67% of memory |'))).toBe(
    true,
  );
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
