import { valuesOf } from '../../formats/format.ts';
import { formatBytes } from '../../formats/layout.ts';
import type { Graph, ValueName, WeightName } from '../../graph/graph.ts';
import { segmentGraph } from '../../graph/segments.ts';
import { outputFormat } from '../compress-matrix.ts';
import { sliceRows } from '../dense-slices.ts';
import { AWQ_STEPS } from '../methods/awq.ts';
import { correctionOf } from '../methods/correction.ts';
import { scalesInputs } from '../methods/method.ts';
import { storedScales } from '../methods/stored-scales.ts';
import type { PlannedTensor } from '../plan.ts';
import { pruningMemory } from '../pruning/pruning-memory.ts';
import type { Calibration } from './calibration.ts';
import { type InputGroup, inputGroups } from './input-groups.ts';
import { cutsOf, EMBEDDING_ROWS } from './walk.ts';

/** What a calibrated compression takes at its peak besides the file's own buffers, in bytes. */
export interface CalibrationMemory {
  readonly host: number;
  readonly gpu: number;
}

/**
 * Estimates it from headers: of walking through the text, with the original model beside the compressed one where there is a correction, and of
 * each matrix that is pruned and compressed. A device that can't bind an H takes less.
 * @param tensors those whose inputs are of interest
 * @param bytesOf what a weight of the model takes on the GPU
 * @param calibration undefined where statistics were gathered before
 */
export function calibrationMemory(
  graph: Graph,
  tensors: readonly PlannedTensor[],
  bytesOf: (weight: WeightName) => number,
  calibration: Calibration | undefined,
): CalibrationMemory {
  const planned = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const of = ({ weights }: InputGroup) => weights.flatMap((name) => planned.get(name) ?? []);
  const groups = inputGroups(graph).filter((group) => of(group).length > 0);
  const corrected = (tensor: PlannedTensor) => correctionOf(tensor, calibration?.correction) > 0;
  const originals = calibration !== undefined && calibration.propagate !== false && tensors.some(corrected);
  const tokens = calibration?.windows[0]?.length ?? 0;
  const statistics = ({ k }: InputGroup) => statisticsBytes(k) + (originals ? 4 * k * (k + tokens) : 0);
  let gpu = 0;
  for (const group of groups) {
    for (const tensor of of(group)) {
      gpu = Math.max(gpu, statistics(group) + matrixBytes(tensor, originals && corrected(tensor)));
    }
  }
  if (!calibration) return { host: 0, gpu };
  const results = (group: InputGroup) => of(group).reduce((sum, tensor) => sum + resultBytes(tensor), 0);
  const how = { bytesOf, streams: originals ? 2 : 1, statistics, results };
  const walk = walkMemory(graph, cutsOf(graph, groups), calibration, how);
  return { host: walk.host, gpu: Math.max(gpu, walk.gpu) };
}

/** Of H and of the statistics of columns. */
export const statisticsBytes = (k: number): number => 4 * k * (k + 4);

/**
 * Of taking a text through the pieces of a graph.
 * @param how `streams` models at a time; `statistics` and `results` of a group, on the GPU: what is gathered, and what takes the place of its matrices in the piece behind
 */
export function walkMemory(
  graph: Graph,
  cuts: ReturnType<typeof cutsOf>,
  { windows }: Calibration,
  how: {
    readonly bytesOf: (weight: WeightName) => number;
    readonly streams: number;
    readonly statistics: (group: InputGroup) => number;
    readonly results: (group: InputGroup) => number;
  },
): CalibrationMemory {
  const { bytesOf, streams, statistics, results } = how;
  const tokens = windows[0]?.length ?? 0;
  const widths = (names: readonly ValueName[]) => names.reduce((sum, name) => sum + graph.values[name]!, 0);
  let [host, gpu, before, replaced] = [0, 0, 0, 0];
  for (const { segment, group } of cuts) {
    const piece = segmentGraph(graph, segment);
    const made = graph.operations.slice(segment.from, segment.to);
    const caches = made.reduce((sum, step) => sum + (step.op === 'attention' ? 2 * step.kvHeads * step.headDim : 0), 0);
    const values = widths([...made.map(({ out }) => out), ...segment.inputs, ...segment.outputs]);
    const weights = piece.weights.reduce((sum, { name, role, shape }) => {
      const rows = role === 'embedding' ? Math.min(1, Math.max(EMBEDDING_ROWS, tokens) / shape[0]!) : 1;
      return sum + rows * bytesOf(name);
    }, 0);
    const running = streams * 4 * tokens * (caches + values);
    gpu = Math.max(gpu, weights + replaced + running + (group ? statistics(group) : 0));
    const live = widths(segment.live);
    host = Math.max(host, streams * 4 * tokens * windows.length * (before + live));
    before = live;
    replaced = group ? results(group) : 0;
  }
  return { host, gpu };
}

const resultBytes = (tensor: PlannedTensor): number =>
  formatBytes(outputFormat(tensor), tensor.weight.shape[0]!, tensor.weight.shape[1]!);

/** Pruning and compressing some rows of a matrix, once the statistics of its input, if any, are there. */
export function matrixBytes(tensor: PlannedTensor, corrects = false): number {
  if (!tensor.prune) return methodBytes(tensor, corrects);
  const { pruning, beside } = pruningMemory(tensor);
  return Math.max(pruning, beside + methodBytes(tensor, corrects));
}

/** Compressing some rows of a matrix. */
function methodBytes(tensor: PlannedTensor, corrects: boolean): number {
  const { weight, method = 'rtn', refine = 0 } = tensor;
  const format = tensor.factors?.base ?? outputFormat(tensor);
  const [all, k] = weight.shape as [number, number];
  const factoring = tensor.factors ? factoringBytes(tensor) : 0;
  const rows = Math.min(all, sliceRows({ bindingLimit: Number.POSITIVE_INFINITY }, k, format));
  // The rows as they are stored, at most 32 bits each, and in f32; in two ways of rounding; errors in two rooms.
  const slice = 8 * rows * k;
  const results = 2 * formatBytes(format.single ?? format, rows, k);
  const errors = 8 * rows * k;
  if (scalesInputs(method))
    return factoring + slice + results + 4 * rows * k + errors + AWQ_STEPS * (12 * k + 4 * rows);
  if (method !== 'gptq' && refine === 0) return factoring + slice + results + errors;
  const values = valuesOf(format);
  const slots = format.packed?.layout(rows, k).slots ?? k;
  const stored = storedScales(values, slots);
  const systems = stored ? 5 * 4 * stored.parts * (slots / stored.unit) * rows : 0;
  // Weights, errors and codes in order, codes in bytes, scales; the rooms of refinement.
  const choosing = (12 + 8) * rows * k + (1 + 8 / values.grid!.group) * rows * slots + systems;
  // H and its factor in order; with a correction, what becomes of the rows, and, while it is made, a room as large as H.
  const factored = 8 * k * k;
  const making = corrects ? 8 * k * k : 0;
  return (
    factoring + factored + Math.max(making, (corrects ? 4 * k * k : 0) + slice + results + Math.max(choosing, errors))
  );
}

/** The matrix, its product and, with a residual, what is left over and another product, whitened, and the bases of its factorization; H factored twice. */
function factoringBytes({ factors, weight }: PlannedTensor): number {
  const [rows, k] = weight.shape as [number, number];
  const side = Math.min(rows, k);
  const sketch = Math.min(side, (factors!.rank ?? side) + 12);
  const svd = 4 * (2 * rows + 2 * k + Math.max(rows, k)) * (sketch + 3) + 40 * sketch ** 2;
  return (factors!.base ? 5 : 3) * 4 * rows * k + svd + 8 * k * k;
}
