import * as v from 'valibot';

const Finite = v.pipe(v.number(), v.finite());
const Bytes = v.pipe(v.number(), v.integer(), v.minValue(0));

const Rate = v.object({
  /** Tokens per second, medians. */
  f32: Finite,
  f16: v.nullable(Finite),
  compressed: Finite,
  /** Time of the faster dense model over the compressed model's. */
  ratio: Finite,
  /** 95% bootstrap interval of the ratio. */
  interval: v.tuple([Finite, Finite]),
});

const Size = v.object({
  /** Bytes of tensor data on disk. */
  original: Bytes,
  compressed: Bytes,
  bitsPerWeight: v.object({ all: Finite, withoutEmbeddings: Finite }),
  tensors: v.array(
    v.object({
      name: v.string(),
      shape: v.array(v.number()),
      format: v.string(),
      original: Bytes,
      compressed: Bytes,
      /** ‖W − Ŵ‖ / ‖W‖, Frobenius. */
      relativeError: v.nullable(Finite),
    }),
  ),
});

/** What `verify` found. Version 1; fields that a run leaves out are null. */
export const ReportSchema = v.object({
  version: v.literal(1),
  device: v.object({ name: v.string(), vendor: v.string(), software: v.boolean() }),
  model: v.object({ original: v.string(), compressed: v.nullable(v.string()) }),
  size: Size,
  accuracy: v.nullable(
    v.object({
      windows: Bytes,
      window: Bytes,
      perplexity: v.object({ original: Finite, compressed: v.nullable(Finite), control: v.nullable(Finite) }),
      kl: v.nullable(v.object({ mean: Finite, p99: Finite })),
      top1Agreement: v.nullable(Finite),
      /** Increase of the mean negative log-likelihood with only this layer compressed, in nats per token. */
      sensitivity: v.array(v.object({ layer: Bytes, lossIncrease: Finite })),
    }),
  ),
  kernels: v.nullable(
    v.object({
      /** Largest error of a GPU logit against the f64 reference over the same weights, relative to the largest logit. */
      maxRelativeError: Finite,
      /** Values that were NaN or infinite, named by layer. */
      nonFinite: v.array(v.string()),
    }),
  ),
  speed: v.nullable(v.object({ prefill: Rate, decode: Rate })),
  gate: v.nullable(
    v.object({
      maxPerplexityIncrease: Finite,
      increase: Finite,
      passed: v.boolean(),
      /** The matrices that lost most, worst first. */
      costliest: v.array(v.string()),
    }),
  ),
});

export type Report = v.InferOutput<typeof ReportSchema>;

const bytes = (n: number) => (n >= 1e6 ? `${(n / 1e6).toFixed(2)} MB` : `${(n / 1e3).toFixed(1)} kB`);
const percent = (x: number, digits = 2) => `${(100 * x).toFixed(digits)}%`;

/** The same data as text. */
export function reportMarkdown(report: Report): string {
  const { size, accuracy, kernels, speed, gate } = report;
  const lines = [
    `# ${report.model.compressed ?? report.model.original}`,
    '',
    `On ${report.device.name}${report.device.software ? ' (software: computes on the CPU)' : ''}.`,
    '',
    '| | original | compressed | |',
    '|---|---:|---:|---:|',
    `| size | ${bytes(size.original)} | ${bytes(size.compressed)} | ${(size.original / size.compressed).toFixed(2)}x smaller |`,
    `| bits per weight | | ${size.bitsPerWeight.all.toFixed(2)} | ${size.bitsPerWeight.withoutEmbeddings.toFixed(2)} without embeddings |`,
  ];
  if (accuracy) {
    const { original, compressed, control } = accuracy.perplexity;
    const change =
      compressed === null ? '' : `${compressed >= original ? '+' : ''}${percent(compressed / original - 1)}`;
    lines.push(`| perplexity | ${original.toFixed(4)} | ${compressed?.toFixed(4) ?? ''} | ${change} |`);
    if (control !== null)
      lines.push(
        `| control, rows shuffled | | ${control.toFixed(1)} | ${(control / original).toFixed(0)}x: has to fail |`,
      );
    if (accuracy.kl)
      lines.push(
        `| KL divergence, nats | | ${accuracy.kl.mean.toExponential(2)} | p99 ${accuracy.kl.p99.toExponential(2)} |`,
      );
    if (accuracy.top1Agreement !== null) lines.push(`| same first choice | | ${percent(accuracy.top1Agreement)} | |`);
  }
  if (speed) {
    for (const [name, rate] of Object.entries(speed)) {
      const dense = Math.max(rate.f32, rate.f16 ?? 0);
      lines.push(
        `| ${name}, tokens/s | ${dense.toFixed(1)} | ${rate.compressed.toFixed(1)} | ${rate.ratio.toFixed(2)}x (95%: ${rate.interval[0].toFixed(2)} to ${rate.interval[1].toFixed(2)}) |`,
      );
    }
  }
  if (kernels)
    lines.push(
      `| kernels against f64 | | ${kernels.maxRelativeError.toExponential(1)} | ${kernels.nonFinite.length} not finite |`,
    );
  if (gate) {
    lines.push(
      '',
      `Gate: perplexity ${percent(gate.increase)} of at most ${percent(gate.maxPerplexityIncrease)}: ${gate.passed ? 'passed' : 'FAILED'}.`,
    );
    if (!gate.passed)
      lines.push(
        `Costliest matrices: ${gate.costliest.join(', ')}. Give these more bits, or use the next larger format.`,
      );
  }
  if (accuracy && accuracy.sensitivity.length > 0) {
    const most = Math.max(...accuracy.sensitivity.map(({ lossIncrease }) => Math.abs(lossIncrease)), 1e-12);
    lines.push('', '## Sensitivity: loss increase with only this layer compressed, nats per token', '', '```');
    for (const { layer, lossIncrease } of accuracy.sensitivity) {
      const bar = (lossIncrease < 0 ? '-' : '#').repeat(Math.round((30 * Math.abs(lossIncrease)) / most));
      lines.push(`layer ${String(layer).padStart(2)} ${lossIncrease.toFixed(5).padStart(9)} ${bar}`);
    }
    lines.push('```');
  }
  const changed = size.tensors.filter(({ relativeError }) => relativeError !== null && relativeError > 0);
  if (changed.length > 0) {
    lines.push(
      '',
      '## Tensors',
      '',
      '| tensor | format | original | compressed | relative error |',
      '|---|---|---:|---:|---:|',
    );
    for (const t of changed)
      lines.push(
        `| ${t.name} | ${t.format} | ${bytes(t.original)} | ${bytes(t.compressed)} | ${t.relativeError!.toExponential(2)} |`,
      );
  }
  return `${lines.join('\n')}\n`;
}
