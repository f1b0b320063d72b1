import { barred, shaded } from '../passes/pruning/density.ts';
import {
  baselineOf,
  figureText,
  increaseIntervalText,
  intervalText,
  bytesText as megabytes,
  percentsApart,
  shortText,
  signedPercent,
  sizeChange,
} from '../verify/figures.ts';
import { patternText, SPEED_FOOTNOTE, zerosText } from '../verify/report.ts';
import type { Report } from '../verify/report-schema.ts';
import type { Rate } from '../verify/speed.ts';
import { drawSvg } from './draw.ts';
import { escapeHtml } from './escape-html.ts';
import { plotsOf } from './plots.ts';
import { STYLE } from './style.ts';

/** A report as one HTML page that needs no other file and no script: figures, plots, tables, and the JSON itself. */
export async function reportHtml(report: Report): Promise<string> {
  const { model, device, accuracy, gate, notes } = report;
  const title = escapeHtml(model.compressed ?? model.original);
  const plots = await Promise.all(
    plotsOf(report).map(
      async ({ title, caption, spec }) =>
        `<figure><h2>${escapeHtml(title)}</h2>${await drawSvg(spec)}<figcaption>${escapeHtml(caption)}</figcaption></figure>`,
    ),
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${title}: Compressa report</title>
<style>${STYLE}</style>
</head>
<body>
<header>
<h1>${title}</h1>
<p>${model.compressed === null ? 'scored' : `compressed from ${escapeHtml(model.original)}, measured`} on
${escapeHtml(device.name)}${device.software ? ', a software device: it computes on the CPU' : ''}${device.driver === undefined ? '' : `; driver: ${escapeHtml(device.driver)}`}</p>
</header>
${gate ? gateBanner(gate, accuracy) : ''}${failedChecks(report)}
<section class="tiles">${tilesOf(report).map(tile).join('')}</section>
${notes.map((note) => `<p class="note">${escapeHtml(note)}</p>`).join('')}
<main>${plots.join('\n')}</main>
${report.speed ? `<p>${escapeHtml(SPEED_FOOTNOTE)}</p>` : ''}
${patternList(report)}
${checkTable(report)}
${tensorTable(report)}
${maskPictures(report)}
<details><summary>The report as JSON</summary><pre>${escapeHtml(JSON.stringify(report, undefined, 2))}</pre></details>
</body>
</html>
`;
}

interface Tile {
  readonly figure: string;
  readonly label: string;
  readonly bad?: boolean;
}

const tile = ({ figure, label, bad }: Tile) =>
  `<div${bad ? ' class="bad"' : ''}><b>${escapeHtml(figure)}</b><span>${escapeHtml(label)}</span></div>`;

function tilesOf({ model, size, accuracy, kernels, speed }: Report): Tile[] {
  const tiles: Tile[] = [];
  const change = sizeChange(size.original, size.compressed);
  if (model.compressed !== null && change) {
    tiles.push({
      figure: change,
      label: `${megabytes(size.original)} to ${megabytes(size.compressed)}, ${size.bitsPerWeight.all.toFixed(2)} bits per weight`,
    });
  }
  if (accuracy) tiles.push(...accuracyTiles(accuracy));
  if (speed) {
    for (const [name, rate] of Object.entries({ prefill: speed.prefill, decode: speed.decode })) {
      if (!rate) continue;
      tiles.push({
        figure: `${rate.ratio.toFixed(2)}x ${name}`,
        label: rateLabel(rate, speed.rounds),
      });
    }
  }
  if (kernels) {
    const { maxRelativeError: error, nonFinite } = kernels;
    tiles.push(
      error === null
        ? { figure: 'NaN or infinity', label: nonFinite.join(', '), bad: true }
        : { figure: error.toExponential(1), label: 'largest error of the kernels against f64' },
    );
  }
  return tiles;
}

function rateLabel(rate: Pick<Rate, 'f32' | 'f16' | 'compressed' | 'interval'>, rounds: number): string {
  const { type, rate: dense } = baselineOf(rate);
  const interval = intervalText(rate.interval);
  return `${rate.compressed.toFixed(1)} tokens/s, ${rounds} rounds, ${type} ${dense.toFixed(1)}${interval && `; ${interval}`}`;
}

function accuracyTiles({
  perplexity,
  increaseInterval,
  control,
  kl,
  top1Agreement,
}: NonNullable<Report['accuracy']>): Tile[] {
  const { original, compressed } = perplexity;
  const interval = increaseIntervalText(increaseInterval);
  const tiles: Tile[] = [];
  if (compressed === null) return [{ figure: figureText(original, 3), label: 'perplexity' }];
  tiles.push({
    figure: signedPercent(compressed / original - 1),
    label: `perplexity, ${figureText(original, 3)} to ${figureText(compressed, 3)}${interval && `; ${interval}`}`,
  });
  if (top1Agreement !== null && kl) {
    tiles.push({
      figure: `${(100 * top1Agreement).toFixed(1)}%`,
      label: `same first choice; KL ${kl.mean.toExponential(2)} nats per token`,
    });
  }
  if (control) {
    tiles.push({
      figure: `${shortText(control.ratio)}x`,
      label: `perplexity of the shuffled control on ${control.windows} x ${control.window} tokens, which has to fail`,
    });
  }
  return tiles;
}

function gateBanner(
  { passed, increase, maxPerplexityIncrease, costliest }: NonNullable<Report['gate']>,
  accuracy: Report['accuracy'],
): string {
  const interval = increaseIntervalText(accuracy?.increaseInterval ?? null);
  const [change, most] = percentsApart(increase ?? 0, maxPerplexityIncrease);
  const found =
    increase === null
      ? 'there is no perplexity to compare'
      : `perplexity changed by ${change}${interval && ` (${interval})`}`;
  const advice = passed
    ? ''
    : `<ul>${costliest
        .map(
          ({ name, format, next }) =>
            `<li>${escapeHtml(`${name}: ${format}${next ? `, next larger ${next}` : ''}`)}</li>`,
        )
        .join('')}</ul>`;
  return `<section class="gate ${passed ? 'passed' : 'failed'}"><b>${passed ? 'Passed' : 'Failed'}</b>: ${found}, allowed are
${most}.${advice}</section>`;
}

/** Of which the banner says that the figures can't be relied on. */
function failedChecks({ checks }: Report): string {
  const failed = checks.filter(({ passed }) => !passed).map(({ name }) => name);
  if (failed.length === 0) return '';
  return `<section class="gate failed"><b>Failed checks</b>: ${failed.join(', ')}.</section>`;
}

function checkTable({ checks }: Report): string {
  const text = (value: number | null) => (value === null ? 'not finite' : shortText(value));
  const rows = checks.map(
    ({ name, measured, bound, threshold, passed }) =>
      `<tr><td>${name}</td><td>${text(measured)}</td><td>${bound} ${text(threshold)}</td><td>${passed ? 'passed' : 'failed'}</td></tr>`,
  );
  return `<details><summary>${checks.length} checks</summary><div class="scroll"><table>
<thead><tr><th>check</th><th>measured</th><th>allowed</th><th></th></tr></thead>
<tbody>${rows.join('\n')}</tbody></table></div></details>`;
}

function tensorTable({ size, model }: Report): string {
  const two = model.compressed !== null;
  const cells = (tag: string, texts: readonly (string | number)[]) =>
    texts.map((text) => `<${tag}>${text}</${tag}>`).join('');
  const rows = size.tensors.map(({ name, shape, format, original, compressed, relativeError, nonFinite }) => {
    const after = [compressed, relativeError === null ? '' : relativeError.toExponential(2)];
    const bad = nonFinite.original + nonFinite.compressed || '';
    const texts = [escapeHtml(name), shape.join(' x '), escapeHtml(format), original, ...(two ? after : []), bad];
    return `<tr>${cells('td', texts)}</tr>`;
  });
  const bytes = two ? ['bytes before', 'bytes after', 'relative error'] : ['bytes'];
  return `<details><summary>All ${size.tensors.length} tensors</summary><div class="scroll"><table>
<thead><tr>${cells('th', ['tensor', 'shape', 'format', ...bytes, 'not finite'])}</tr></thead>
<tbody>${rows.join('\n')}</tbody></table></div></details>`;
}

/** What packed weights buy. */
function patternList({ speed }: Report): string {
  const items = speed?.patterns?.map((pattern) => `<li>${escapeHtml(patternText(pattern))}</li>`) ?? [];
  return items.length === 0 ? '' : `<p>Packed weights:</p><ul>${items.join('')}</ul>`;
}

/** Where matrices have weights that are not zero, drawn in characters: a page of many matrices stays small. */
function maskPictures({ size }: Report): string {
  const pictures = size.tensors.flatMap(({ name, sparsity }) => {
    if (!sparsity) return [];
    const text = `${escapeHtml(name)}: ${zerosText(sparsity)}`;
    const least = `lowest ${sparsity.least.toFixed(2)} of the highest`;
    return [
      `<figure><pre class="mask">${shaded(sparsity.map).join('\n')}</pre><pre class="mask bars">${barred(sparsity.channels)}</pre><figcaption>${text}; ${least}</figcaption></figure>`,
    ];
  });
  if (pictures.length === 0) return '';
  return `<details><summary>Zeros of ${pictures.length} matrices: the denser, the more weights are not zero; below, how much is read through the columns, by the size of their weights</summary><div class="masks">${pictures.join('\n')}</div></details>`;
}
