import { expect, test, vi } from 'vitest';
import { reportHtml } from '../../../src/report/html.ts';
import { plotsOf } from '../../../src/report/plots.ts';
import { checksOf } from '../../../src/verify/checks.ts';
import { type Report, reportMarkdown } from '../../../src/verify/report.ts';

const rate = (f16: number | null) => ({
  f32: 11,
  f16,
  compressed: 23,
  ratio: 23 / (f16 ?? 11),
  interval: [1.61, 1.93] as [number, number],
});
const timed = { prefill: rate(13), decode: rate(null), rounds: 5, prefillTokens: 64, decodeTokens: 8 };

const tensor = (name: string, shape: number[], relativeError: number | null): Report['size']['tensors'][number] => ({
  name,
  shape,
  format: 'q4_0',
  original: 4_000_000,
  compressed: 1_125_000,
  onGpu: { original: 4_000_000, compressed: 1_125_000 },
  relativeError,
  squaredError: relativeError,
  nonFinite: { original: 0, compressed: 0 },
});

const REPORT: Report = {
  version: 1,
  device: { name: 'a device', vendor: 'nobody', software: true },
  model: { original: 'big', compressed: 'small' },
  size: {
    original: 12_000_000,
    compressed: 3_375_000,
    files: { original: 12_000_100, compressed: 3_375_100 },
    onGpu: { original: 12_000_000, compressed: 3_375_000 },
    bitsPerWeight: { all: 4.51, withoutEmbeddings: 4.5 },
    tensors: [
      tensor('model.layers.0.mlp.up_proj.weight', [64, 64], 0.0871),
      tensor('model.layers.10.mlp.up_proj.weight', [64, 64], 0.0872),
      tensor('model.layers.2.mlp.up_proj.weight', [64, 64], 0.0873),
      tensor('model.norm.weight', [64], null),
    ],
    unpaired: { original: [], compressed: [] },
  },
  memory: {
    gpu: { peak: 1, weights: { original: 1, compressed: 1 }, caches: 1, activations: 1, stack: null },
    host: 1,
  },
  accuracy: {
    windows: 4,
    window: 256,
    perplexity: { original: 35.25, compressed: 36.5, control: 9999 },
    increaseInterval: [0.021, 0.049],
    control: { windows: 2, window: 128, original: 22.07, ratio: 453.06 },
    kl: { mean: 0.00625, p99: 0.0375 },
    top1Agreement: 0.945,
    sensitivity: [
      { layer: 0, lossIncrease: 0.007 },
      { layer: 10, lossIncrease: -0.001 },
      { layer: null, lossIncrease: 0.002 },
    ],
  },
  kernels: { maxRelativeError: 3.9e-7, nonFinite: [] },
  speed: { ...timed, stack: { model: 'two layers', format: 'q4_0', ...timed } },
  checks: checksOf({
    tensors: [],
    kernels: { maxRelativeError: 3.9e-7, nonFinite: [] },
    badLogits: 0,
    controlRatio: 453.06,
  }),
  gate: {
    maxPerplexityIncrease: 0.01,
    increase: 36.5 / 35.25 - 1,
    passed: false,
    costliest: [{ name: 'model.layers.0.mlp.up_proj.weight', format: 'q4_0', cost: 0.007, next: 'q8_0' }],
  },
  notes: ['Something was left out.'],
};

/** What the drawings say, as text. */
const textOf = (html: string) => html.replace(/<style>.*?<\/style>/s, '').replace(/<[^>]+>/g, '\n');

test('zeros are drawn, and packed formats judged', async () => {
  const sparse = { ...tensor('model.layers.0.mlp.up_proj.weight', [64, 64], 0.5), format: 'q8_0@2:4' };
  const tensors = [sparse.name, 'model.layers.1.mlp.up_proj.weight'];
  const pattern = { format: 'q8_0@2:4', dense: 'q8_0', tensors, rows: 64, columns: 64, tokens: 1, ratio: 1.31 };
  const report: Report = {
    ...REPORT,
    size: {
      ...REPORT.size,
      tensors: [
        {
          ...sparse,
          sparsity: { zeros: 0.5, map: ['f08', '0ff'], channels: '08f', least: 0.4, columns: [1, 0.6, 0.4] },
        },
      ],
    },
    speed: {
      ...REPORT.speed!,
      patterns: [
        { ...pattern, interval: [1.25, 1.4], pays: true },
        { ...pattern, tokens: 64, ratio: 0.9, interval: [0.8, 1.1], pays: false },
      ],
    },
  };
  const page = await reportHtml(report);
  expect(page).toContain('Zeros by layer');
  expect(page).toContain('<pre class="mask">█ ▒\n ██</pre>');
  expect(page).toContain('<pre class="mask bars"> ▄█</pre>');
  expect(page).toContain('Columns by importance');
  expect(page).toContain('lowest 0.40 of the highest');
  for (const text of [page, reportMarkdown(report)]) {
    expect(text).toContain(
      'q8_0@2:4, 2 matrices of 64 x 64, a token: 1.31x of q8_0 (1.25 to 1.40): pays on this device',
    );
    expect(text).toContain('64 tokens: 0.90x of q8_0 (0.80 to 1.10): does not pay on this device');
    expect(text).toContain('50.00% are zero');
  }
});

test('the page shows the figures of the report, draws its plots and needs nothing from elsewhere', async () => {
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
  const html = await reportHtml(REPORT);
  expect(warn).not.toHaveBeenCalled();
  const text = textOf(html);
  for (const figure of [
    '3.56x smaller',
    '+3.55%',
    '94.5%',
    '453x',
    '95%: +2.10% to +4.90%',
    '1.77x prefill',
    '2.09x decode',
    '3.9e-7',
    'next larger q8_0',
  ]) {
    expect(text).toContain(figure);
  }
  for (const drawn of ['35.250', '36.500', '9999.0', '6.25e-3', '3.75e-2', '1B layers, decode'])
    expect(text).toContain(drawn);
  expect(text).toContain('Failed');
  expect(text).toContain('Something was left out.');
  expect(html.match(/<svg/g)).toHaveLength(plotsOf(REPORT).length);
  expect(html).not.toMatch(/NaN|undefined|<script|(src|href)=["']?https?:/);
});

test('the page says how many rounds were timed, which checks failed, and nothing of intervals that there are not', async () => {
  const text = textOf(await reportHtml(REPORT));
  expect(text).toMatch(/23\.0 tokens\/s, 5 rounds, f16 13\.0; 95%: 1\.61 to 1\.93/);
  expect(text).toMatch(/5 of the model and 5 of the 1B layers/);
  expect(text).toMatch(/stored in f16, arithmetic is f32/);
  expect(text).not.toContain('Failed checks');
  const { speed } = REPORT;
  const few = { ...timed, prefill: { ...rate(13), interval: null } };
  const failed = textOf(
    await reportHtml({
      ...REPORT,
      speed: { ...speed!, ...few },
      checks: checksOf({
        tensors: [{ ...tensor('t', [2], null), nonFinite: { original: 1, compressed: 2 } }],
        kernels: { maxRelativeError: 0.002, nonFinite: [] },
        badLogits: 0,
        controlRatio: 1.5,
      }),
    }),
  );
  expect(failed).toMatch(/Failed checks\s*: finite weights, kernel error, control\./);
  expect(failed.split('The report as JSON')[0]).not.toMatch(/NaN|null/);
});

test('layers stand in their order, what belongs to none last', () => {
  const spec = plotsOf(REPORT).find(({ title }) => title === 'Size by layer')!.spec;
  expect(spec).toMatchObject({ encoding: { x: { sort: ['0', '2', '10', 'rest'] } } });
});

test('a report of sizes alone has the plots that it has data for', async () => {
  const bare: Report = { ...REPORT, accuracy: null, kernels: null, speed: null, gate: null, notes: [] };
  expect(plotsOf(bare).map(({ title }) => title)).toEqual(['Size by layer', 'Weight error by layer']);
  const alone: Report = {
    ...bare,
    model: { original: 'big', compressed: null },
    size: { ...bare.size, tensors: [tensor('t', [2, 2], null)] },
  };
  expect(plotsOf(alone).map(({ title }) => title)).toEqual(['Size by layer']);
  expect(textOf(await reportHtml(alone))).not.toContain('smaller');
});

test('names from files cannot bring markup along', async () => {
  const evil = '</title><script>alert(1)</script><img src=x onerror=alert(1)>';
  const html = await reportHtml({
    ...REPORT,
    model: { original: evil, compressed: evil },
    device: { ...REPORT.device, name: evil },
    size: { ...REPORT.size, tensors: [tensor(`model.layers.0.${evil}`, [2, 2], 0.1)] },
    notes: [evil],
  });
  expect(html).not.toMatch(/<script|<img/);
});

test('the control has one factor, that of its check, wherever it stands', async () => {
  const markdown = reportMarkdown(REPORT);
  expect(markdown).toMatch(/\| control, rows shuffled, 2 x 128 tokens \| 22\.1 \| 9999\.0 \| 453x: has to fail \|/);
  expect(markdown).toMatch(/\| control \| 453 \| at least 2 \|/);
  const page = textOf(await reportHtml(REPORT));
  expect(page).toContain('control: rows shuffled, 453x');
  // By the perplexity of the whole text.
  for (const text of [markdown, page]) expect(text).not.toMatch(/28[34]x/);
});

test('the device has its own name, and beside it its driver where that is told', async () => {
  const told: Report = { ...REPORT, device: { ...REPORT.device, name: 'nvidia-h200', driver: 'NVIDIA: 550.90.07' } };
  expect(reportMarkdown(told)).toContain('On nvidia-h200 (software: computes on the CPU), driver NVIDIA: 550.90.07.');
  expect(textOf(await reportHtml(told))).toMatch(/on\s+nvidia-h200, a software device.*; driver: NVIDIA: 550\.90\.07/);
  for (const text of [reportMarkdown(REPORT), textOf(await reportHtml(REPORT))]) expect(text).not.toMatch(/driver/);
});

test('an increase of perplexity has its interval in the table and at the gate', () => {
  expect(reportMarkdown(REPORT)).toMatch(
    /\| perplexity \| 35\.2500 \| 36\.5000 \| \+3\.55% \(95%: \+2\.10% to \+4\.90%\) \|/,
  );
  expect(reportMarkdown(REPORT)).toMatch(
    /Gate: perplexity \+3\.55% \(95%: \+2\.10% to \+4\.90%\), of at most 1\.00%: FAILED/,
  );
});

test('one model has one column, and nothing that it is smaller than', async () => {
  const alone: Report = {
    ...REPORT,
    model: { original: 'big', compressed: null },
    accuracy: {
      ...REPORT.accuracy!,
      perplexity: { original: 35.25, compressed: null, control: null },
      increaseInterval: null,
      control: null,
      kl: null,
      top1Agreement: null,
      sensitivity: [],
    },
    kernels: null,
    speed: null,
    gate: null,
  };
  const [table] = reportMarkdown(alone).split('| check ');
  expect(table).toMatch(/\| perplexity \| 35\.2500 \|/);
  for (const line of table!.split('\n').filter((one) => one.startsWith('|'))) expect(line.split('|')).toHaveLength(4);
  expect(table).not.toMatch(/smaller|compressed/);
  expect(textOf(await reportHtml(alone)).split('The report as JSON')[0]).not.toMatch(
    /smaller|bytes after|relative error\n/,
  );
});

test('without tensors, nothing is said to be smaller or to have bits', async () => {
  const size = { ...REPORT.size, original: 0, compressed: 0, tensors: [] };
  const empty: Report = { ...REPORT, size, accuracy: null, kernels: null, speed: null, gate: null };
  const page = textOf(await reportHtml(empty)).split('The report as JSON')[0]!;
  for (const text of [reportMarkdown(empty), page]) expect(text).not.toMatch(/smaller|larger|bits per weight/);
});

test('what became larger is said to be larger', async () => {
  const larger: Report = { ...REPORT, size: { ...REPORT.size, original: 4_000_000, compressed: 5_000_000 } };
  expect(reportMarkdown(larger)).toContain('| 1.25x larger |');
  expect(textOf(await reportHtml(larger))).toContain('1.25x larger');
});

test('spectra are plotted: values, kept energy, errors and the rank of each layer', () => {
  const points = [1, 2, 4].map((rank) => ({ rank, value: 1 / rank, kept: 1 - 1 / (1 + rank) }));
  const spectrum = (layer: number, rank: number | null) => ({
    name: `model.layers.${layer}.mlp.up_proj.weight`,
    shape: [64, 64] as [number, number],
    ...{ pays: 32, plain: points, whitened: layer === 0 ? null : points, rank },
  });
  const titles = (report: Report) => plotsOf(report).map(({ title }) => title);
  const mine = ['Singular values', 'Kept energy', 'Error against rank', 'Rank by layer'];
  expect(titles(REPORT)).not.toEqual(expect.arrayContaining(mine));
  expect(titles({ ...REPORT, spectra: [] })).not.toEqual(expect.arrayContaining(mine));
  const plots = plotsOf({ ...REPORT, spectra: [spectrum(0, 8), spectrum(1, 16)] });
  expect(plots.map(({ title }) => title)).toEqual(expect.arrayContaining(mine));
  const valuesOf = (title: string) => {
    const { data } = plots.find((plot) => plot.title === title)!.spec as unknown as { data: { values: object[] } };
    return data.values;
  };
  expect(valuesOf('Rank by layer')).toMatchObject([
    { layer: '0', rank: 8, share: 0.25 },
    { layer: '1', rank: 16, share: 0.5 },
  ]);
  // The plain ones of both, and the whitened ones of one.
  expect(valuesOf('Singular values')).toHaveLength(9);
  expect(valuesOf('Error against rank')[0]).toMatchObject({
    which: 'plain',
    share: 1 / 32,
    error: 100 * Math.sqrt(0.5),
  });
  // Without factors, what would be needed.
  const unfactored = plotsOf({ ...REPORT, spectra: [spectrum(0, null)] }).find(
    ({ title }) => title === 'Rank by layer',
  )!;
  expect(unfactored.caption).toContain('90%');
});
