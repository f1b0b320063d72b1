import { ELEMENT_BYTES } from '../../files/element-type.ts';
import { formatByName } from '../../formats/registry.ts';
import type { Graph } from '../../graph/graph.ts';
import { cutGraph } from '../../graph/segments.ts';
import { CHOLESKY_BLOCK } from '../../kernels/cholesky.ts';
import { gemmScratch } from '../../kernels/gemm.ts';
import type { Calibration } from '../calibration/calibration.ts';
import { inputGroups } from '../calibration/input-groups.ts';
import { type CalibrationMemory, statisticsBytes, walkMemory } from '../calibration/memory.ts';
import { cutsOf } from '../calibration/walk.ts';
import { sliceRows } from '../dense-slices.ts';
import type { Coupling } from './couplings.ts';
import type { Shrunk } from './shrink-model.ts';
import { ranksLayers, type Shrinking, shrinkNeedsInputs } from './shrinking.ts';

/** Estimates from headers what shrinking a model takes at its peak, in bytes: the walk through the text, H of what is read, factored, and the matrix that reads it. */
export function shrinkMemory(
  { shrinking, whole, original, graph, left }: Shrunk,
  calibration: Calibration | undefined,
): CalibrationMemory {
  const bytesIn =
    ({ tensors }: Pick<Shrunk['original'], 'tensors'>) =>
    (name: string) =>
      tensors.get(name)?.byteLength ?? 0;
  const typeOf = (name: string) => original.tensors.get(name)!.type;
  const walked = [...left.keys()].some(({ bias }) => bias !== undefined) || shrinkNeedsInputs(shrinking);
  const seen = calibration && walked ? calibration : undefined;
  let [host, gpu, fitted] = [0, 0, 0];
  for (const [coupling, stay] of left) {
    const { reader, units, columns } = coupling;
    const rows = original.tensors.get(reader)!.shape[0]!;
    const k = units * columns;
    gpu = Math.max(gpu, (seen ? statisticsBytes(k) : 0) + unitBytes(coupling, rows, shrinking));
    if (seen && shrinking.repair === 'refit') fitted += rows * stay * columns * ELEMENT_BYTES[typeOf(reader)];
  }
  const add = (taken: CalibrationMemory) => {
    host = Math.max(host, taken.host);
    gpu = Math.max(gpu, taken.gpu);
  };
  if (seen) {
    const byInput = new Map([...left.keys()].map((coupling) => [coupling.input, coupling]));
    const groups = inputGroups(graph).filter(({ input }) => byInput.has(input));
    const bytesOf = bytesIn(original);
    add(
      walkMemory(graph, cutsOf(graph, groups), seen, {
        ...{ bytesOf, streams: 1, statistics: ({ k }) => statisticsBytes(k) },
        results: ({ input }) => bytesOf(byInput.get(input)!.reader),
      }),
    );
  }
  if (whole && calibration && ranksLayers(shrinking))
    add(layersMemory(whole.graph, bytesIn(whole.checkpoint), calibration));
  return { host: host + fitted, gpu };
}

/** Of taking the text through one layer after the other. */
function layersMemory(graph: Graph, bytesOf: (name: string) => number, calibration: Calibration): CalibrationMemory {
  const end = graph.layerRanges.at(-1)![1];
  const cuts = cutGraph(graph).flatMap((segment) => (segment.to <= end ? [{ segment }] : []));
  const plain = { bytesOf, streams: 1, statistics: () => 0, results: () => 0 };
  return walkMemory(graph, cuts, calibration, plain);
}

/** Of choosing units: follows `chooseUnits`. */
function unitBytes({ units, columns, bias }: Coupling, all: number, { score, repair }: Shrinking): number {
  const k = units * columns;
  const rows = Math.min(all, sliceRows({ bindingLimit: Number.POSITIVE_INFINITY }, k, formatByName('f32')));
  const values = 4 * rows * k;
  // The rows as they are stored, at most 32 bits each, and in f32.
  const slice = 2 * values;
  const fits = score === 'obs' || repair === 'refit';
  const inverse = score === 'obs' ? 4 * k * k : 0;
  const factored = fits ? 4 * k * k + 4 * CHOLESKY_BLOCK * k + inverse : 0;
  const fitting = fits ? values + 4 * CHOLESKY_BLOCK * rows + gemmScratch(k, rows, k) : 0;
  const block = columns > 1 ? 4 * columns * columns + 4 * CHOLESKY_BLOCK * Math.max(columns, rows) : 0;
  const costs = score === 'obs' ? block + 4 * columns * rows + 16 * units : 0;
  const fitted = fits ? values : 0;
  // Columns turned, or what stays, two rooms of its error, and the way back.
  const result = Math.max(3 * values, bias === undefined ? 0 : 2 * values);
  return factored + slice + fitted + Math.max(fitting, costs, result) + 8 * k;
}
