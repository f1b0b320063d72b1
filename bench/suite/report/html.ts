import { drawSvg } from '../../../src/report/draw.ts';
import { escapeHtml } from '../../../src/report/escape-html.ts';
import { STYLE } from '../../../src/report/style.ts';
import type { Bench } from '../results-schema.ts';
import { SUITES } from '../suites.ts';
import { circumstances, suiteRows } from '../tables.ts';
import { absentLines, PEERS_TITLE, peerRows } from './peers.ts';
import { benchPlots } from './plots.ts';

/** The results as one HTML page that needs no other file and no script: figures, plots, tables, and the JSON itself. */
export async function benchHtml(bench: Bench): Promise<string> {
  const { device, failures, notes } = bench;
  const plots = await Promise.all(
    benchPlots(bench).map(
      async ({ title, caption, spec }) =>
        `<figure><h2>${escapeHtml(title)}</h2>${await drawSvg(spec)}<figcaption>${escapeHtml(caption)}</figcaption></figure>`,
    ),
  );
  const unsteady = bench.cases.some(({ anchor }) => !anchor.steady);
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
${tableOf(PEERS_TITLE, peerRows(bench))}
${absentPeers(bench)}
${SUITES.map(({ name, title }) => tableOf(title, suiteRows(bench, name))).join('\n')}
${unsteady ? '<p class="note">* The clock moved over this case.</p>' : ''}
${failures.length === 0 ? '' : `<details open><summary>${failures.length} without a figure</summary><ul>${failures.map(failureItem).join('')}</ul></details>`}
${notesOfContestants(bench)}
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

const failureItem = ({ suite, name, contestant, message }: Bench['failures'][number]) =>
  `<li>${escapeHtml(`${suite} ${name}${contestant === null ? '' : `, ${contestant}`}: ${message}`)}</li>`;

function absentPeers(bench: Bench): string {
  const items = absentLines(bench).map((line) => `<li>${escapeHtml(line)}</li>`);
  return items.length === 0
    ? ''
    : `<details open><summary>Peers not in this run</summary><ul>${items.join('')}</ul></details>`;
}

function tableOf(title: string, [head, ...rows]: string[][]): string {
  if (rows.length === 0) return '';
  const cells = (tag: string, texts: readonly string[]) =>
    texts.map((text) => `<${tag}>${escapeHtml(text)}</${tag}>`).join('');
  return `<details open><summary>${escapeHtml(title)}</summary><div class="scroll"><table>
<thead><tr>${cells('th', head!)}</tr></thead>
<tbody>${rows.map((row) => `<tr>${cells('td', row)}</tr>`).join('\n')}</tbody></table></div></details>`;
}

/** What each contestant's time includes, once. */
function notesOfContestants({ cases }: Bench): string {
  const notes = new Map<string, string>();
  for (const { suite, contestants } of cases) {
    for (const { name, note } of contestants) if (!notes.has(`${suite}: ${name}`)) notes.set(`${suite}: ${name}`, note);
  }
  const items = [...notes].map(([name, note]) => `<li>${escapeHtml(`${name}: ${note}`)}</li>`);
  return `<details><summary>What times include</summary><ul>${items.join('')}</ul></details>`;
}
