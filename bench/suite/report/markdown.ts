import type { Bench } from '../results-schema.ts';
import { SUITES } from '../suites.ts';
import { circumstances, suiteRows } from '../tables.ts';
import { absentLines, PEERS_TITLE, peerRows } from './peers.ts';

const cell = (text: string) => text.replace(/\|/g, '\\|');
const row = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`;

/** The results as Markdown: a table a suite. */
export function benchMarkdown(bench: Bench): string {
  const { device, roofline, failures, notes } = bench;
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
  for (const { name, title } of SUITES) table(title, suiteRows(bench, name));
  table(PEERS_TITLE, peerRows(bench));
  if (bench.absentPeers.length > 0)
    lines.push('', '## Peers not in this run', '', ...absentLines(bench).map((one) => `- ${one}`));
  if (bench.cases.some(({ anchor }) => !anchor.steady)) lines.push('', '\\* The clock moved over this case.');
  if (failures.length > 0) {
    lines.push('', '## No figure', '');
    for (const { suite, name, contestant, message } of failures) {
      lines.push(`- ${suite} ${name}${contestant === null ? '' : `, ${contestant}`}: ${message}`);
    }
  }
  return `${lines.join('\n')}\n`;
}
