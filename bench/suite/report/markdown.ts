import type { Bench } from '../results-schema.ts';
import { SUITES } from '../suites.ts';
import { circumstances, suiteRows } from '../tables.ts';
import { ABSENT_TITLE, absentLines, FAILURES_TITLE, failureLines, LEGEND_TITLE, legendLines } from './lines.ts';
import { NOTES_TITLE, noteLines } from './notes.ts';
import { PEERS_TITLE, peerRows } from './peers.ts';

const cell = (text: string) => text.replace(/\|/g, '\\|');
const row = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`;

/** The results as Markdown: a table a suite. */
export function benchMarkdown(bench: Bench): string {
  const { device, roofline, notes } = bench;
  const { f32, f16, i8 } = roofline.gigaOperationsPerSecond;
  const rate = (name: string, value: number | null) => (value === null ? [] : [`${name} ${value.toFixed(1)} Gop/s`]);
  const lines = [
    `# Benchmark: ${device.name}`,
    '',
    `${circumstances(bench)}.`,
    '',
    `Memory ${roofline.gigabytesPerSecond.toFixed(2)} GB/s read and written, ${[...rate('f32', f32), ...rate('f16', f16), ...rate('int8', i8)].join(', ')}.`,
    ...notes.flatMap((note) => ['', note]),
  ];
  const table = (title: string, [head, ...rows]: string[][]) => {
    if (rows.length === 0) return;
    lines.push('', `## ${title}`, '', row(head!), row(head!.map(() => '---')), ...rows.map(row));
  };
  const list = (title: string, texts: readonly string[]) => {
    if (texts.length > 0) lines.push('', `## ${title}`, '', ...texts.map((text) => `- ${text.replace(/^\*/, '\\*')}`));
  };
  list(LEGEND_TITLE, legendLines(bench));
  for (const { name, title } of SUITES) table(title, suiteRows(bench, name));
  table(PEERS_TITLE, peerRows(bench));
  list(ABSENT_TITLE, absentLines(bench));
  list(FAILURES_TITLE, failureLines(bench));
  list(NOTES_TITLE, noteLines(bench));
  return `${lines.join('\n')}\n`;
}
