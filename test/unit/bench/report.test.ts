import { expect, test } from 'vitest';
import { benchHtml } from '../../../bench/suite/report/html.ts';
import { benchMarkdown } from '../../../bench/suite/report/markdown.ts';
import { benchPlots } from '../../../bench/suite/report/plots.ts';
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
