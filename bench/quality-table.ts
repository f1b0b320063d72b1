import type { QualityPoint } from './quality-plot.ts';

const METHOD = /^Compressa, (.+)$/;
/** Columns from left to right; whatever else there is comes behind. */
const ORDER = ['rtn', 'search', 'hqq', 'awq', 'gptq', 'ggml'];

/**
 * Perplexity of every format by every method as a Markdown table, by bits per weight; the least of each row is bold where it has several. A method that changes the bits, because it turns a format's
 * offsets on say, has them in its cell.
 */
export function qualityTable(points: readonly QualityPoint[], dense: number): string {
  const columns = [...new Set(points.map(({ series }) => METHOD.exec(series)?.[1] ?? series))].sort(
    (a, b) => ((ORDER.indexOf(a) + 99) % 99) - ((ORDER.indexOf(b) + 99) % 99),
  );
  const rows = new Map<string, { bits: number; cells: Map<string, QualityPoint> }>();
  for (const point of points) {
    const row = rows.get(point.format) ?? { bits: point.bitsPerWeight, cells: new Map() };
    row.bits = Math.min(row.bits, point.bitsPerWeight);
    row.cells.set(METHOD.exec(point.series)?.[1] ?? point.series, point);
    rows.set(point.format, row);
  }
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const lines = [
    line(['format', 'bits a weight', ...columns]),
    line(['---', ...Array(columns.length + 1).fill('--:')]),
  ];
  for (const [format, { bits, cells }] of [...rows].sort(([, a], [, b]) => a.bits - b.bits)) {
    const least = Math.min(...[...cells.values()].map(({ perplexity }) => perplexity));
    const cell = (column: string) => {
      const point = cells.get(column);
      if (!point) return '';
      const own = point.bitsPerWeight.toFixed(3);
      const text = point.perplexity.toFixed(3) + (own === bits.toFixed(3) ? '' : ` (${own} bits)`);
      return cells.size > 1 && point.perplexity === least ? `**${text}**` : text;
    };
    lines.push(line([`\`${format}\``, bits.toFixed(3), ...columns.map(cell)]));
  }
  return `Perplexity of the sample model over 16 windows; dense: ${dense.toFixed(3)}. Measured by \`npm run claims -- calibrated-quality\`, calibrated on calibration text only.\n\n${lines.join('\n')}\n`;
}
