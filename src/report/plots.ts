import { shortText } from '../verify/figures.ts';
import type { Report } from '../verify/report-schema.ts';
import { BAD, COMPRESSED, HEIGHT, KINDS, layerOrder, ORIGINAL, type Plot, placeOf, WIDTH } from './plot.ts';
import { spectrumPlots } from './spectrum-plots.ts';

/** The plots that a report has data for, in the order of the page. */
export function plotsOf(report: Report): Plot[] {
  const plots = [sizes, weightErrors, zeros, columns, sensitivity, perplexity, divergence, ratios, rates];
  return [...plots.flatMap((plot) => plot(report) ?? []), ...spectrumPlots(report)];
}

function sizes({ size, model }: Report): Plot {
  const values = size.tensors.flatMap((tensor) => {
    const { original, compressed } = tensor;
    const place = placeOf(tensor);
    const before = { ...place, which: 'original', megabytes: original / 1e6 };
    return model.compressed === null
      ? [before]
      : [before, { ...place, which: 'compressed', megabytes: compressed / 1e6 }];
  });
  return {
    title: 'Size by layer',
    caption: 'Bytes on disk of every tensor, by layer and kind; the left, paler bar of a pair is the original.',
    spec: {
      width: WIDTH,
      height: HEIGHT,
      data: { values },
      mark: { type: 'bar' },
      encoding: {
        x: { field: 'layer', type: 'nominal', sort: layerOrder(values.map(({ layer }) => layer)), title: 'layer' },
        xOffset: { field: 'which', sort: ['original', 'compressed'] },
        y: { aggregate: 'sum', field: 'megabytes', type: 'quantitative', title: 'MB' },
        color: { field: 'kind', type: 'nominal', title: null, scale: { range: KINDS } },
        opacity: {
          field: 'which',
          type: 'ordinal',
          scale: { domain: ['original', 'compressed'], range: [0.45, 1] },
          legend: null,
        },
      },
    },
  };
}

function weightErrors({ size }: Report): Plot | undefined {
  const values = size.tensors.flatMap((tensor) =>
    tensor.relativeError ? [{ ...placeOf(tensor), error: 100 * tensor.relativeError }] : [],
  );
  if (values.length === 0) return undefined;
  return {
    title: 'Weight error by layer',
    caption: '‖W − Ŵ‖ / ‖W‖ of every tensor that changed.',
    spec: {
      width: WIDTH,
      height: HEIGHT,
      data: { values },
      mark: { type: 'point', filled: true, size: 60, opacity: 0.9 },
      encoding: {
        x: { field: 'layer', type: 'nominal', sort: layerOrder(values.map(({ layer }) => layer)), title: 'layer' },
        xOffset: { field: 'kind' },
        y: { field: 'error', type: 'quantitative', title: 'relative error, %', scale: { zero: false, padding: 8 } },
        color: { field: 'kind', type: 'nominal', title: null, scale: { range: KINDS } },
      },
    },
  };
}

function zeros({ size }: Report): Plot | undefined {
  const values = size.tensors.flatMap((tensor) =>
    tensor.sparsity ? [{ ...placeOf(tensor), zeros: 100 * tensor.sparsity.zeros }] : [],
  );
  if (values.length === 0) return undefined;
  return {
    title: 'Zeros by layer',
    caption: 'The share of the weights of a matrix that are zero, where it is at least a fifth.',
    spec: {
      width: WIDTH,
      height: HEIGHT,
      data: { values },
      mark: { type: 'point', filled: true, size: 60, opacity: 0.9 },
      encoding: {
        x: { field: 'layer', type: 'nominal', sort: layerOrder(values.map(({ layer }) => layer)), title: 'layer' },
        xOffset: { field: 'kind' },
        y: { field: 'zeros', type: 'quantitative', title: 'zeros, %', scale: { domain: [0, 100] } },
        color: { field: 'kind', type: 'nominal', title: null, scale: { range: KINDS } },
      },
    },
  };
}

/** Points of a curve are at equal steps. */
const shareAt = (i: number, points: number): number => (points > 1 ? (100 * i) / (points - 1) : 0);

function columns({ size }: Report): Plot | undefined {
  const values = size.tensors.flatMap((tensor) => {
    const curve = tensor.sparsity?.columns ?? [];
    const { kind } = placeOf(tensor);
    return curve.map((value, i) => ({ kind, name: tensor.name, share: shareAt(i, curve.length), value }));
  });
  if (values.length === 0) return undefined;
  return {
    title: 'Columns by importance',
    caption:
      'Of each pruned matrix the size of what is left of its columns (the root of the sum of squares), the largest first. Where a line falls soon, few channels carry the matrix; where it meets the ground, the rest could go as a whole.',
    spec: {
      width: WIDTH,
      height: HEIGHT,
      data: { values },
      mark: { type: 'line', strokeWidth: 1.5, opacity: 0.75, clip: true },
      encoding: {
        x: { field: 'share', type: 'quantitative', title: 'columns, %', scale: { domain: [0, 100], nice: false } },
        y: { field: 'value', type: 'quantitative', title: 'of the largest', scale: { domain: [0, 1] } },
        detail: { field: 'name' },
        color: { field: 'kind', type: 'nominal', title: null, scale: { range: KINDS } },
      },
    },
  };
}

function sensitivity({ accuracy }: Report): Plot | undefined {
  if (!accuracy || accuracy.sensitivity.length === 0) return undefined;
  const values = accuracy.sensitivity.map(({ layer, lossIncrease }) => ({
    layer: layer === null ? 'rest' : String(layer),
    increase: 1000 * lossIncrease,
    worse: lossIncrease > 0,
  }));
  return {
    title: 'Sensitivity by layer',
    caption:
      'Loss increase with only this layer compressed, on a few windows: where more bits help most. Small bars are noise.',
    spec: {
      width: WIDTH,
      height: HEIGHT,
      data: { values },
      mark: { type: 'bar' },
      encoding: {
        x: { field: 'layer', type: 'nominal', sort: layerOrder(values.map(({ layer }) => layer)), title: 'layer' },
        y: { field: 'increase', type: 'quantitative', title: 'thousandths of a nat per token' },
        color: {
          field: 'worse',
          type: 'nominal',
          scale: { domain: [true, false], range: [BAD, ORIGINAL] },
          legend: null,
        },
      },
    },
  };
}

function perplexity({ accuracy }: Report): Plot | undefined {
  if (!accuracy) return undefined;
  const { control } = accuracy;
  const shuffled = `control: rows shuffled${control ? `, ${shortText(control.ratio)}x` : ''}`;
  const values = Object.entries(accuracy.perplexity).flatMap(([which, value]) =>
    value === null ? [] : [{ which: which === 'control' ? shuffled : which, value, label: value.toPrecision(5) }],
  );
  return {
    title: 'Perplexity',
    caption:
      'On held-out text, lower is better. The control has the same values in the wrong order and has to fail; its factor is against the original on the same part of the text.',
    spec: {
      width: WIDTH,
      height: 40 * values.length,
      data: { values },
      encoding: {
        // Names are cut off at 180 pixels otherwise.
        y: { field: 'which', type: 'nominal', sort: null, title: null, axis: { labelLimit: 300 } },
        x: {
          field: 'value',
          type: 'quantitative',
          scale: { type: 'log', nice: true },
          title: 'perplexity, logarithmic',
        },
      },
      layer: [
        {
          mark: { type: 'point', filled: true, size: 110 },
          encoding: {
            color: {
              field: 'which',
              type: 'nominal',
              scale: { domain: values.map(({ which }) => which), range: [ORIGINAL, COMPRESSED, BAD] },
              legend: null,
            },
          },
        },
        { mark: { type: 'text', dy: -12, color: 'currentColor' }, encoding: { text: { field: 'label' } } },
      ],
    },
  };
}

function divergence({ accuracy }: Report): Plot | undefined {
  if (!accuracy?.kl) return undefined;
  const { mean, p99 } = accuracy.kl;
  const values = [
    { which: 'mean', value: mean, label: mean.toExponential(2) },
    { which: '99th percentile', value: p99, label: p99.toExponential(2) },
  ];
  return {
    title: 'KL divergence',
    caption: "How far the compressed model's next-token probabilities are from the original's, in nats per token.",
    spec: {
      width: WIDTH,
      height: 40 * values.length,
      data: { values },
      encoding: {
        y: { field: 'which', type: 'nominal', sort: null, title: null },
        x: { field: 'value', type: 'quantitative', title: 'nats per token' },
      },
      layer: [
        { mark: { type: 'bar', color: COMPRESSED, height: 14 } },
        {
          mark: { type: 'text', align: 'left', dx: 5, color: 'currentColor' },
          encoding: { text: { field: 'label' } },
        },
      ],
    },
  };
}

/** Prefill and decode of the model and of the synthetic layers. */
function measuredSpeeds({ speed }: Report) {
  if (!speed) return [];
  const { stack } = speed;
  const of = (what: string, { prefill, decode }: Pick<typeof speed, 'prefill' | 'decode'>) =>
    Object.entries({ prefill, decode }).flatMap(([name, rate]) => (rate ? [{ what: `${what}, ${name}`, rate }] : []));
  return [...of('this model', speed), ...(stack ? of('1B layers', stack) : [])];
}

const roundsOf = ({ speed }: Report): string =>
  [
    ...(speed?.prefill ? [`${speed.rounds} of the model`] : []),
    ...(speed?.stack ? [`${speed.stack.rounds} of the 1B layers`] : []),
  ].join(' and ');

function ratios(report: Report): Plot | undefined {
  const values = measuredSpeeds(report).map(({ what, rate }) => ({
    what,
    ratio: rate.ratio,
    low: rate.interval?.[0] ?? rate.ratio,
    high: rate.interval?.[1] ?? rate.ratio,
    label: `${rate.ratio.toFixed(2)}x`,
  }));
  if (values.length === 0) return undefined;
  const what = { field: 'what', type: 'nominal', sort: null, title: null } as const;
  return {
    title: 'Speed-up on this device',
    caption: `Against the faster of f32 and f16, with 95% intervals of paired rounds, ${roundsOf(report)}. Right of 1 is faster; an interval that holds 1 shows no clear difference.`,
    spec: {
      width: WIDTH,
      height: 40 * values.length,
      data: { values },
      layer: [
        { mark: { type: 'rule', strokeDash: [4, 4], color: 'currentColor' }, encoding: { x: { datum: 1 } } },
        {
          mark: { type: 'rule', strokeWidth: 3, color: COMPRESSED },
          encoding: {
            y: what,
            x: { field: 'low', type: 'quantitative', title: 'times as fast', scale: { zero: false, padding: 20 } },
            x2: { field: 'high' },
          },
        },
        {
          mark: { type: 'point', filled: true, size: 90, color: COMPRESSED },
          encoding: { y: what, x: { field: 'ratio', type: 'quantitative' } },
        },
        {
          mark: { type: 'text', dy: -12, color: 'currentColor' },
          encoding: { y: what, x: { field: 'ratio', type: 'quantitative' }, text: { field: 'label' } },
        },
      ],
    },
  };
}

function rates(report: Report): Plot | undefined {
  const values = measuredSpeeds(report).flatMap(({ what, rate }) =>
    (['f32', 'f16', 'compressed'] as const).flatMap((which) => {
      const tokens = rate[which];
      return tokens === null ? [] : [{ what, which, tokens }];
    }),
  );
  if (values.length === 0) return undefined;
  return {
    title: 'Tokens per second',
    caption: `Medians of interleaved rounds, ${roundsOf(report)}, on a logarithmic scale.`,
    spec: {
      width: WIDTH,
      height: 40 * new Set(values.map(({ what }) => what)).size,
      data: { values },
      mark: { type: 'point', filled: true, size: 90 },
      encoding: {
        y: { field: 'what', type: 'nominal', sort: null, title: null },
        x: { field: 'tokens', type: 'quantitative', scale: { type: 'log', nice: true }, title: 'tokens per second' },
        color: {
          field: 'which',
          type: 'nominal',
          scale: { domain: ['f32', 'f16', 'compressed'], range: [ORIGINAL, '#e0a030', COMPRESSED] },
          title: null,
        },
      },
    },
  };
}
