import { barred, shaded } from '../passes/pruning/density.ts';
import {
  baselineOf,
  bytesText,
  figureText,
  increaseIntervalText,
  intervalText,
  percentsApart,
  percentText,
  shortText,
  signedPercent,
  sizeChange,
} from './figures.ts';
import type { Report } from './report-schema.ts';

export { passes } from './checks.ts';
export { type Report, ReportSchema } from './report-schema.ts';

type Rates = Pick<NonNullable<Report['speed']>, 'prefill' | 'decode'>;
type Rate = NonNullable<Rates['prefill']>;

const bytes = bytesText;

/** The same data as text. */
export function reportMarkdown(report: Report): string {
  const { model, device, size, accuracy, kernels, speed, gate, memory, checks } = report;
  const lines = [
    `# ${model.compressed ?? model.original}`,
    '',
    `On ${device.name}${device.software ? ' (software: computes on the CPU)' : ''}${device.driver === undefined ? '' : `, driver ${device.driver}`}.`,
    '',
    ...(model.compressed === null ? singleRows(report) : pairRows(report)),
  ];
  if (kernels && kernels.nonFinite.length > 0) lines.push('', `NaN or infinite: ${kernels.nonFinite.join(', ')}.`);
  lines.push(...badWeightLines(size), ...checkLines(checks));
  if (speed) lines.push('', SPEED_FOOTNOTE);
  if (speed?.prefill) lines.push('', roundsLine('Speed', speed));
  if (speed?.stack) {
    const { model: what, format } = speed.stack;
    lines.push('', `${roundsLine('1B layers', speed.stack)} They are ${what}; compressed is ${format}.`);
  }
  if (gate) lines.push('', ...gateLines(gate, accuracy));
  for (const note of report.notes) lines.push('', `Note: ${note}`);
  lines.push('', `Memory, estimated: GPU ${bytes(memory.gpu.peak)}, host ${bytes(memory.host)}.`);
  if (accuracy && accuracy.sensitivity.length > 0) lines.push('', ...sensitivityLines(accuracy.sensitivity));
  lines.push(...patternLines(speed), ...tensorLines(size), ...maskLines(size));
  return `${lines.join('\n')}\n`;
}

function pairRows({ size, accuracy, speed, kernels }: Report): string[] {
  const rows = [
    '| | original | compressed | |',
    '|---|---:|---:|---:|',
    ...sizeRows(size),
    ...(accuracy ? accuracyRows(accuracy) : []),
    ...(speed ? speedRows('', speed) : []),
    ...(speed?.stack ? speedRows('1B layers, ', speed.stack) : []),
  ];
  if (kernels) {
    const error = kernels.maxRelativeError?.toExponential(1) ?? '';
    rows.push(row('kernels against f64', '', error, `${kernels.nonFinite.length} not finite`));
  }
  return rows;
}

/** What there is to say of one model. */
function singleRows({ size, accuracy }: Report): string[] {
  const rows: [string, string][] = [
    ['size', bytes(size.original)],
    ['files', bytes(size.files.original)],
    ['on the GPU', bytes(size.onGpu.original)],
  ];
  if (size.tensors.length > 0) {
    const { all, withoutEmbeddings } = size.bitsPerWeight;
    rows.push(['bits per weight', `${all.toFixed(2)} (${withoutEmbeddings.toFixed(2)} without embeddings)`]);
  }
  if (accuracy) rows.push(['perplexity', figureText(accuracy.perplexity.original, 4)]);
  return ['| | |', '|---|---:|', ...rows.map(([name, value]) => `| ${name} | ${value} |`)];
}

/** What the speeds are of, for whoever reads the figures. */
export const SPEED_FOOTNOTE =
  'Speed: medians over the rounds, and their ratio with an interval over paired rounds; the faster of f32 and f16 against compressed; f16 means matrices stored in f16, arithmetic is f32 everywhere. Prefill takes the prompt in at once; decoding writes behind it, tokens chosen on the GPU and read back, timed from the first token to the last.';

const roundsLine = (
  what: string,
  {
    rounds,
    prefillTokens,
    decodeTokens,
  }: Pick<NonNullable<Report['speed']>, 'rounds' | 'prefillTokens' | 'decodeTokens'>,
): string => `${what}: ${rounds} paired rounds of ${prefillTokens} tokens taken in and ${decodeTokens} written.`;

function badWeightLines({ tensors }: Report['size']): string[] {
  const bad = tensors.filter(({ nonFinite }) => nonFinite.original + nonFinite.compressed > 0);
  if (bad.length === 0) return [];
  return [
    '',
    'Weights that are NaN or infinite:',
    '',
    '| tensor | in the original | in the compressed model |',
    '|---|---:|---:|',
    ...bad.map(({ name, nonFinite }) => `| ${name} | ${nonFinite.original} | ${nonFinite.compressed} |`),
  ];
}

function checkLines(checks: Report['checks']): string[] {
  const text = (value: number | null) => (value === null ? 'not finite' : shortText(value));
  return [
    '',
    '| check | measured | allowed | |',
    '|---|---:|---:|---|',
    ...checks.map(
      ({ name, passed, measured, bound, threshold }) =>
        `| ${name} | ${text(measured)} | ${bound} ${text(threshold)} | ${passed ? 'passed' : 'FAILED'} |`,
    ),
  ];
}

const row = (name: string, original: string, compressed: string, note: string) =>
  `| ${name} | ${original} | ${compressed} | ${note} |`;

const sizeRows = ({ original, compressed, files, onGpu, bitsPerWeight, tensors }: Report['size']): string[] => [
  row('size', bytes(original), bytes(compressed), sizeChange(original, compressed)),
  row('files', bytes(files.original), bytes(files.compressed), ''),
  row('on the GPU', bytes(onGpu.original), bytes(onGpu.compressed), ''),
  ...(tensors.length === 0
    ? []
    : [
        row(
          'bits per weight',
          '',
          bitsPerWeight.all.toFixed(2),
          `${bitsPerWeight.withoutEmbeddings.toFixed(2)} without embeddings`,
        ),
      ]),
];

function accuracyRows(accuracy: NonNullable<Report['accuracy']>): string[] {
  const { perplexity, control, kl, top1Agreement } = accuracy;
  const { original, compressed } = perplexity;
  const [a, b] = [original, compressed].map((value) => (value === null ? '' : figureText(value, 4)));
  const rows = [row('perplexity', a!, b!, `${changeText(original, compressed)}${inBrackets(accuracy)}`)];
  if (control && perplexity.control !== null) {
    const [own, shuffled] = [control.original, perplexity.control].map((value) => figureText(value, 1));
    const name = `control, rows shuffled, ${control.windows} x ${control.window} tokens`;
    rows.push(row(name, own!, shuffled!, `${shortText(control.ratio)}x: has to fail`));
  }
  if (kl) rows.push(row('KL divergence, nats', '', kl.mean.toExponential(2), `p99 ${kl.p99.toExponential(2)}`));
  if (top1Agreement !== null) rows.push(row('same first choice', '', percentText(top1Agreement), ''));
  return rows;
}

const inBrackets = (accuracy: Report['accuracy']): string => {
  const interval = increaseIntervalText(accuracy?.increaseInterval ?? null);
  return interval && ` (${interval})`;
};

const changeText = (original: number, compressed: number | null): string =>
  compressed === null ? '' : signedPercent(compressed / original - 1);

const speedRows = (label: string, { prefill, decode }: Rates): string[] =>
  Object.entries({ prefill, decode }).flatMap(([name, rate]) => (rate ? [rateRow(`${label}${name}`, rate)] : []));

function rateRow(name: string, rate: Rate): string {
  const { type, rate: dense } = baselineOf(rate);
  const interval = intervalText(rate.interval);
  const note = `${rate.ratio.toFixed(2)}x${interval && ` (${interval})`}`;
  return row(`${name}, tokens/s`, `${type} ${dense.toFixed(1)}`, rate.compressed.toFixed(1), note);
}

function gateLines(gate: NonNullable<Report['gate']>, accuracy: Report['accuracy']): string[] {
  const { increase } = gate;
  const [change, most] = percentsApart(increase ?? 0, gate.maxPerplexityIncrease);
  const found =
    increase === null
      ? 'there is no perplexity to compare'
      : `perplexity ${increase >= 0 ? '+' : ''}${change}${inBrackets(accuracy)}`;
  const lines = [`Gate: ${found}, of at most ${most}: ${gate.passed ? 'passed' : 'FAILED'}.`];
  if (gate.passed || gate.costliest.length === 0) return lines;
  const rows = gate.costliest.map(
    ({ name, format, cost, next }) => `| ${name} | ${format} | ${cost.toExponential(1)} | ${next ?? 'none'} |`,
  );
  return [
    ...lines,
    '',
    'These cost most. Give them the next larger format in a recipe, or take it for the whole model:',
    '',
    '| tensor | format | share of the loss, nats per token | next larger format |',
    '|---|---|---:|---|',
    ...rows,
  ];
}

function sensitivityLines(sensitivity: NonNullable<Report['accuracy']>['sensitivity']): string[] {
  const most = Math.max(...sensitivity.map(({ lossIncrease }) => Math.abs(lossIncrease)), 1e-12);
  const bars = sensitivity.map(({ layer, lossIncrease }) => {
    const bar = (lossIncrease < 0 ? '-' : '#').repeat(Math.round((30 * Math.abs(lossIncrease)) / most));
    const name = layer === null ? 'no layer' : `layer ${String(layer).padStart(2)}`;
    return `${name} ${lossIncrease.toFixed(5).padStart(9)} ${bar}`.trimEnd();
  });
  return ['## Sensitivity: loss increase with only this layer compressed, nats per token', '', '```', ...bars, '```'];
}

type Pattern = NonNullable<NonNullable<Report['speed']>['patterns']>[number];

/** What packed weights of a format and size buy on this device. */
export const patternText = ({
  format,
  dense,
  tensors,
  rows,
  columns,
  tokens,
  ratio,
  interval,
  pays,
}: Pattern): string =>
  `${format}, ${tensors.length === 1 ? tensors[0] : `${tensors.length} matrices`} of ${rows} x ${columns}, ${tokens === 1 ? 'a token' : `${tokens} tokens`}: ${ratio.toFixed(2)}x of ${dense} (${interval.map((end) => end.toFixed(2)).join(' to ')}): ${pays ? 'pays' : 'does not pay'} on this device`;

function patternLines(speed: Report['speed']): string[] {
  if (!speed?.patterns) return [];
  return ['', '## Packed weights', '', ...speed.patterns.map((pattern) => `- ${patternText(pattern)}`)];
}

/** How many zeros a matrix has, and in which pattern. */
export const zerosText = ({
  zeros,
  pattern,
}: {
  readonly zeros: number;
  readonly pattern?: string | undefined;
}): string => `${percentText(zeros)} are zero${pattern ? `, by ${pattern}` : ''}`;

/** In a text; the page has them all. */
const MOST_MASKS = 8;

function maskLines({ tensors }: Report['size']): string[] {
  const sparse = tensors.flatMap(({ name, sparsity }) => (sparsity ? [{ name, ...sparsity }] : []));
  if (sparse.length === 0) return [];
  return [
    '',
    '## Zeros: where matrices have weights that are not zero',
    '',
    '```',
    ...sparse
      .slice(0, MOST_MASKS)
      .flatMap(({ name, map, channels, least, ...found }) => [
        `${name}: ${zerosText(found)}`,
        ...shaded(map),
        `${barred(channels)} what is read through columns: the lowest has ${least.toFixed(2)} of the highest`,
      ]),
    '```',
    ...(sparse.length > MOST_MASKS ? [`and ${sparse.length - MOST_MASKS} more in the page and in JSON`] : []),
  ];
}

function tensorLines({ tensors }: Report['size']): string[] {
  const changed = tensors.filter(({ relativeError }) => relativeError !== null && relativeError > 0);
  if (changed.length === 0) return [];
  return [
    '',
    '## Tensors',
    '',
    '| tensor | format | original | compressed | relative error |',
    '|---|---|---:|---:|---:|',
    ...changed.map(
      (t) =>
        `| ${t.name} | ${t.format} | ${bytes(t.original)} | ${bytes(t.compressed)} | ${t.relativeError!.toExponential(2)} |`,
    ),
  ];
}
