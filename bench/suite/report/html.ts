import { drawSvg } from '../../../src/report/draw.ts';
import { escapeHtml } from '../../../src/report/escape-html.ts';
import { STYLE } from '../../../src/report/style.ts';
import type { Bench } from '../results-schema.ts';
import { SUITES } from '../suites.ts';
import { circumstances, suiteRows } from '../tables.ts';
import { ABSENT_TITLE, absentLines, FAILURES_TITLE, failureLines, LEGEND_TITLE, legendLines } from './lines.ts';
import { NOTES_TITLE, noteLines } from './notes.ts';
import { PEERS_TITLE, peerRows } from './peers.ts';
import { benchPlots } from './plots.ts';

/** The results as one HTML page that needs no other file and no script: figures, plots, tables, and the JSON itself. */
export async function benchHtml(bench: Bench): Promise<string> {
  const { device, notes } = bench;
  const plots = await Promise.all(
    benchPlots(bench).map(
      async ({ title, caption, spec }) =>
        `<figure><h2>${escapeHtml(title)}</h2>${await drawSvg(spec)}<figcaption>${escapeHtml(caption)}</figcaption></figure>`,
    ),
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escapeHtml(device.name)}: Compressa benchmark</title>
<style>${STYLE}</style>
</head>
<body>
<header>
<h1>${escapeHtml(device.name)}</h1>
<p>${device.software ? 'A software device: it computes on the CPU. ' : ''}${escapeHtml(circumstances(bench))}</p>
</header>
<section class="tiles">${tilesOf(bench).join('')}</section>
${notes.map((note) => `<p class="note">${escapeHtml(note)}</p>`).join('')}
<main>${plots.join('\n')}</main>
${listOf(LEGEND_TITLE, legendLines(bench), true)}
${tableOf(PEERS_TITLE, peerRows(bench))}
${listOf(ABSENT_TITLE, absentLines(bench), true)}
${SUITES.map(({ name, title }) => tableOf(title, suiteRows(bench, name))).join('\n')}
${listOf(FAILURES_TITLE, failureLines(bench), true)}
${listOf(NOTES_TITLE, noteLines(bench), false)}
<details><summary>The results as JSON</summary><pre>${escapeHtml(JSON.stringify(bench, undefined, 1))}</pre></details>
</body>
</html>
`;
}

function tilesOf({ roofline, cases }: Bench): string[] {
  const { f32, f16, i8 } = roofline.gigaOperationsPerSecond;
  const tile = (figure: string, label: string) =>
    `<div><b>${escapeHtml(figure)}</b><span>${escapeHtml(label)}</span></div>`;
  const rate = (name: string, value: number | null) =>
    value === null ? [] : [tile(`${value.toFixed(1)} Gop/s`, `${name} arithmetic; a multiply-add counts two`)];
  return [
    tile(`${roofline.gigabytesPerSecond.toFixed(2)} GB/s`, 'memory, read and written'),
    ...rate('f32', f32),
    ...rate('f16', f16),
    ...rate('int8', i8),
    tile(String(cases.length), 'cases'),
  ];
}

function tableOf(title: string, [head, ...rows]: string[][]): string {
  if (rows.length === 0) return '';
  const cells = (tag: string, texts: readonly string[]) =>
    texts.map((text) => `<${tag}>${escapeHtml(text)}</${tag}>`).join('');
  return `<details open><summary>${escapeHtml(title)}</summary><div class="scroll"><table>
<thead><tr>${cells('th', head!)}</tr></thead>
<tbody>${rows.map((row) => `<tr>${cells('td', row)}</tr>`).join('\n')}</tbody></table></div></details>`;
}

function listOf(title: string, lines: readonly string[], open: boolean): string {
  const items = lines.map((line) => `<li>${escapeHtml(line)}</li>`);
  return items.length === 0
    ? ''
    : `<details${open ? ' open' : ''}><summary>${escapeHtml(title)}</summary><ul>${items.join('')}</ul></details>`;
}
