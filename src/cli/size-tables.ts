import type { CompressReport } from '../passes/compress.ts';
import type { CompressionPlan, SizeSummary, TensorReport } from '../passes/plan.ts';
import { barred, shaded } from '../passes/pruning/density.ts';
import type { MatrixKind, TimePrediction } from '../passes/pruning/predict-time.ts';
import type { MaskPreview } from '../passes/pruning/preview-masks.ts';
import type { ShrunkLayer } from '../passes/shrinking/shrink-model.ts';
import { bytesText, columns, safeName, shapeText } from './columns.ts';
import { table } from './output.ts';

/** What calibrated matrices lost, in the mean; nothing where there are none. */
export function errorSummary(tensors: readonly TensorReport[]): string | undefined {
  const errors = tensors.flatMap(({ error }) => (error ? [error] : []));
  if (errors.length === 0) return undefined;
  const mean = (of: 'rtn' | 'chosen') => errors.reduce((sum, error) => sum + error[of], 0) / errors.length;
  const percent = (share: number) => `${(100 * share).toPrecision(3)}%`;
  return table(
    [
      ['rounded to nearest', percent(mean('rtn'))],
      ['as written', percent(mean('chosen'))],
    ],
    `Error of the outputs of ${errors.length} matrices on the calibration (mean of tr(ΔW H ΔWᵀ) / tr(W H Wᵀ))`,
  );
}

/** What pruning left, in the mean over matrices; nothing where none was pruned. */
export function pruneSummary(tensors: readonly TensorReport[]): string | undefined {
  const pruned = tensors.flatMap(({ prune, shape }) =>
    prune?.sparsity === undefined ? [] : [{ ...prune, weights: shape.reduce((product, size) => product * size, 1) }],
  );
  if (pruned.length === 0) return undefined;
  const weights = pruned.reduce((sum, of) => sum + of.weights, 0);
  const gone = pruned.reduce((sum, { sparsity = 0, ...of }) => sum + sparsity * of.weights, 0);
  const error = pruned.reduce((sum, of) => sum + (of.error ?? 0), 0) / pruned.length;
  const percent = (share: number) => `${(100 * share).toFixed(2)}%`;
  return table(
    [
      ['weights that are gone', `${percent(gone / weights)} of ${weights}`],
      ['error of the outputs', percent(error)],
    ],
    `Pruning of ${pruned.length} matrices (the error is the mean of tr(ΔW H ΔWᵀ) / tr(W H Wᵀ), before quantization)`,
  );
}

/** Masks as pictures: the darker, the more weights stay. */
export function maskPictures({ masks, seconds }: MaskPreview): string {
  const pictures = masks.map(({ name, pattern, zeros, map, channels, least }) =>
    [
      `${safeName(name)}, ${pattern}: ${(100 * zeros).toFixed(2)}% would go`,
      ...shaded(map),
      `${barred(channels)} what is left by columns: the lowest has ${least.toFixed(2)} of the highest`,
    ].join('\n'),
  );
  const title = `Masks by magnitude, one of each shape; choosing all takes about ${seconds.toFixed(1)} s (calibration and repair are not counted)`;
  return [title, ...pictures].join('\n\n');
}

/** How long the products of a token would take. */
export function timeTable({ products, milliseconds }: TimePrediction): string {
  const kind = (matrix: MatrixKind | null) => (matrix ? `${matrix.shape.join(' x ')} ${matrix.format}` : 'none');
  const time = (value: number) => value.toPrecision(3);
  const rows = products.map(({ tensors, before, after, milliseconds: one, ratio, interval, pays }) => [
    ...[String(tensors.length), kind(before), ratio === null && after ? 'the same' : kind(after)],
    ...[time(tensors.length * one.before), time(tensors.length * one.after)],
    interval
      ? `${ratio!.toFixed(2)}x (${interval.map((end) => end.toFixed(2)).join(' to ')}): ${pays ? 'pays' : 'does not pay'}`
      : '',
  ]);
  const { before, after } = milliseconds;
  rows.push(['', 'all', '', time(before), time(after), `${((100 * after) / before).toFixed(1)}% of the time`]);
  const title =
    'Time of the products of a token on this device, in ms (medians of paired runs, weights beyond the caches; attention, norms and what a decoder launches together are not in it)';
  return `${title}\n${columns([['matrices', 'now', 'then', 'before', 'after', ''], ...rows], [0, 3, 4])}`;
}

/** What went from the layers, in all and in the mean; nothing where the model did not shrink. */
export function shrinkSummary({ shrink }: CompressReport): string | undefined {
  if (!shrink?.length) return undefined;
  const rows = [...new Set(shrink.map(({ structure }) => structure))].map((structure) => {
    const layers = shrink.filter((layer) => layer.structure === structure);
    const [{ units, removed }] = layers as [(typeof layers)[number]];
    if (structure === 'layers') return [structure, `${removed.join(', ')} of ${units}`, ''];
    const error = layers.reduce((sum, layer) => sum + (layer.error ?? 0), 0) / layers.length;
    const counts = [...new Set(layers.map((layer) => layer.removed.length))].sort((a, b) => a - b);
    const gone = counts.length === 1 ? `${counts[0]}` : `${counts[0]} to ${counts.at(-1)}`;
    const sizes = new Set(layers.map((layer) => layer.units)).size;
    return [
      structure,
      `${gone}${sizes === 1 ? ` of ${units}` : ''} in each of ${layers.length} layers`,
      `${(100 * error).toFixed(2)}%`,
    ];
  });
  const title = 'What was removed, and the mean error of the outputs behind it (tr(ΔW H ΔWᵀ) / tr(W H Wᵀ))';
  return `${title}\n${columns(rows, [2])}\n\n${unitPictures(shrink)}`;
}

/** What structures were worth, and which of them went, or would go. */
export function unitPictures(shrink: readonly ShrunkLayer[]): string {
  const many = shrink.some(({ units }) => units > MOST_CELLS);
  const drawn = shrink.map(({ structure, layer, importance, removed }) => [
    `${structure}${layer === undefined ? '' : ` ${layer}`}`,
    ...importancePicture(importance, removed),
  ]);
  const order = many ? ` (more than ${MOST_CELLS} stand in falling order)` : '';
  const legend = `What each was worth, the higher the more${order}, and below where some are gone, the darker the more of them`;
  const pictures = drawn.flatMap(([what, worth, gone]) => [
    `${what!.padEnd(10)} ${worth}`,
    `${' '.repeat(10)} ${gone}`.trimEnd(),
  ]);
  return `${legend}\n${pictures.join('\n')}`;
}

/** Cells of a picture of units. */
const MOST_CELLS = 64;

/**
 * Units side by side: what they were worth, beside the largest, and whether they are gone. Where there are many those that were worth most come first, several in a cell: the mean of
 * what they were worth, and the share that is gone.
 */
export function importancePicture(
  importance: readonly number[],
  removed: readonly number[],
): [worth: string, gone: string] {
  const gone = new Set(removed);
  const count = Math.min(MOST_CELLS, importance.length);
  const order = Array.from(importance.keys());
  if (importance.length > MOST_CELLS) order.sort((a, b) => importance[b]! - importance[a]! || a - b);
  const cells = Array.from({ length: count }, (_, cell) => {
    const [from, to] = [cell, cell + 1].map((at) => Math.floor((at * importance.length) / count)) as [number, number];
    const units = order.slice(from, to);
    return {
      worth: units.reduce((sum, unit) => sum + Math.max(0, importance[unit]!), 0) / units.length,
      gone: units.filter((unit) => gone.has(unit)).length / units.length,
    };
  });
  const largest = Math.max(...cells.map(({ worth }) => worth), Number.MIN_VALUE);
  const digit = (share: number) => Math.round(15 * share).toString(16);
  return [
    barred(cells.map(({ worth }) => digit(worth / largest)).join('')),
    shaded([cells.map((cell) => digit(cell.gone)).join('')])[0]!,
  ];
}

/** Tensors of a role and format count as one line, or each has its own where they are few. */
const MOST_LINES = 24;

export function tensorTable(tensors: readonly TensorReport[]): string {
  const row = (
    what: string,
    shape: string,
    t: Pick<TensorReport, 'format' | 'prune' | 'factors' | 'bytesBefore' | 'bytesAfter'>,
  ) => [
    what,
    shape,
    [t.format, ...(t.factors?.rank ? [`rank ${t.factors.rank}`] : []), ...(t.prune ? [t.prune.pattern] : [])].join(
      ', ',
    ),
    bytesText(t.bytesBefore),
    bytesText(t.bytesAfter),
  ];
  if (tensors.length <= MOST_LINES) {
    const rows = tensors.map((t) => row(safeName(t.name), shapeText(t.shape), t));
    return columns([['tensor', 'shape', 'format', 'before', 'after'], ...rows], [3, 4]);
  }
  const groups = new Map<
    string,
    Pick<TensorReport, 'role' | 'format' | 'prune' | 'bytesBefore' | 'bytesAfter'> & { count: number }
  >();
  for (const { role, format, prune, bytesBefore, bytesAfter } of tensors) {
    const key = `${role} ${format} ${prune?.pattern ?? ''}`;
    const group = groups.get(key);
    groups.set(key, {
      ...{ role, format, count: (group?.count ?? 0) + 1 },
      ...(prune && { prune }),
      bytesBefore: (group?.bytesBefore ?? 0) + bytesBefore,
      bytesAfter: (group?.bytesAfter ?? 0) + bytesAfter,
    });
  }
  const rows = [...groups.values()].map((group) => row(group.role, String(group.count), group));
  return columns([['role', 'tensors', 'format', 'before', 'after'], ...rows], [1, 3, 4]);
}

export const summary = (sizes: SizeSummary): string =>
  table([
    ['before', bytesText(sizes.bytesBefore)],
    ['after', `${bytesText(sizes.bytesAfter)} (${change(sizes)})`],
    [
      'bits per weight',
      `${sizes.bitsPerWeight.all.toFixed(2)}; ${sizes.bitsPerWeight.withoutEmbeddings.toFixed(2)} without embeddings`,
    ],
  ]);

function change({ bytesBefore, bytesAfter }: SizeSummary): string {
  if (bytesBefore === 0 || bytesAfter === 0) return 'there are no weights';
  if (bytesBefore === bytesAfter) return 'the same';
  return bytesAfter < bytesBefore
    ? `${(bytesBefore / bytesAfter).toFixed(2)} times smaller`
    : `${(bytesAfter / bytesBefore).toFixed(2)} times larger`;
}

export const memory = (plan: CompressionPlan): string =>
  table(
    [
      ['host, at its peak', bytesText(plan.memory.host)],
      ['GPU, while compressing', bytesText(plan.memory.gpu)],
      ['GPU, to hold the result', bytesText(plan.memory.weights)],
    ],
    'Memory (estimates)',
  );

export const done = (report: CompressReport, out: string): string =>
  `${summary(report)}\n\nWrote ${out} in ${report.seconds.toFixed(1)} s.`;
