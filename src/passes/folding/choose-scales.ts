import type { Checkpoint } from '../../files/checkpoint.ts';
import { decodeToF32 } from '../../files/convert.ts';
import { quote } from '../../files/text.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { Graph, ValueName } from '../../graph/graph.ts';
import type { ScaleFolding } from '../../graph/scale-folding.ts';
import type { Calibration } from '../calibration/calibration.ts';
import { type InputGroup, inputGroups } from '../calibration/input-groups.ts';
import type { Statistics, StatisticsSource } from '../calibration/statistics.ts';
import { walkInputs } from '../calibration/walk.ts';
import { denseSlices } from '../dense-slices.ts';
import { checkpointSource } from '../load-weights.ts';
import { awqScales } from '../methods/awq.ts';
import { scalesInputs } from '../methods/method.ts';
import { columnMaxima, smoothingFactors } from '../methods/smooth-quant.ts';
import type { PlannedTensor } from '../plan.ts';
import { chunkRows } from '../stored-weight.ts';
import type { FoldedCheckpoint } from './folded-checkpoint.ts';

export interface ChooseScalesArguments {
  readonly gpu: Gpu;
  /** The model as it is. */
  readonly original: Checkpoint;
  readonly folded: FoldedCheckpoint;
  readonly foldings: readonly ScaleFolding[];
  readonly graph: Graph;
  readonly tensors: readonly PlannedTensor[];
  readonly inputs: Calibration | StatisticsSource;
  readonly signal?: AbortSignal;
  readonly notice: (text: string) => void;
}

/**
 * Chooses factors for the inputs of all matrices whose method scales them (AWQ, SmoothQuant), from what the original model computes, and moves them.
 * @returns the factors of each input, f32 [k]: the input is divided by them
 * @throws NonFiniteError, FileError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function chooseScales(args: ChooseScalesArguments): Promise<ReadonlyMap<ValueName, Float32Array>> {
  const { gpu, original, folded, foldings, graph, tensors, inputs, signal, notice } = args;
  const scaled = new Map(
    tensors.filter(({ method }) => method && scalesInputs(method)).map((tensor) => [tensor.name, tensor]),
  );
  const byInput = new Map(foldings.map((folding) => [folding.input, folding]));
  const groups = inputGroups(graph).filter(({ weights }) => weights.some((name) => scaled.has(name)));
  for (const { input, weights } of groups) {
    if (byInput.has(input)) continue;
    const names = weights.filter((name) => scaled.has(name)).map(quote);
    notice(`${names.join(', ')}: their input is not scaled, since nothing before it can be divided.`);
  }
  const wanted = ({ input, weights }: InputGroup) => byInput.has(input) && weights.some((name) => scaled.has(name));
  const chosen = new Map<ValueName, Float32Array>();
  const maxima = new Map<ValueName, Float32Array>();
  const move = (folding: ScaleFolding, factors: Float32Array) => {
    folded.set(folding, factors);
    chosen.set(
      folding.input,
      Float32Array.from(folding.channelOf, (channel) => factors[channel]!),
    );
  };
  const visit = async ({ input, weights }: InputGroup, statistics: Statistics) => {
    const folding = byInput.get(input)!;
    const columns = await statistics.columns();
    const matrices = weights.flatMap((name) => scaled.get(name) ?? []);
    if (matrices.every(({ method }) => method === 'smoothquant')) maxima.set(input, columns.absMax);
    else {
      const given = matrices.map((tensor) => ({
        format: tensor.target!,
        slices: () => denseSlices(gpu, original, original.tensors.get(tensor.name)!, tensor.target!, signal),
      }));
      const { factors } = await awqScales(gpu, given, statistics.hessian, columns, folding.channelOf, signal);
      move(folding, factors);
    }
    return new Map<string, never>();
  };
  if ('load' in inputs) {
    for (const group of groups.filter(wanted)) {
      const statistics = await inputs.load(gpu, group, signal);
      try {
        await visit(group, statistics);
      } finally {
        statistics.release();
      }
    }
  } else {
    const source = checkpointSource(gpu, original, signal);
    const columnsOnly = [...scaled.values()].every(({ method }) => method === 'smoothquant');
    const how = { gpu, graph, source, windows: inputs.windows, wanted, columnsOnly, visit };
    await walkInputs({ ...how, ...(signal && { signal }) });
  }
  // From the end: rows that one folding divides are in the columns that another, before it, measures.
  for (const folding of [...foldings].reverse()) {
    const absMax = maxima.get(folding.input);
    if (absMax) move(folding, smoothingFactors(folding, absMax, await columnsOf(folded.checkpoint, folding, signal)));
  }
  return chosen;
}

/** Largest |w| of each column, over the matrices that read an input, some rows at a time. */
async function columnsOf(
  checkpoint: Checkpoint,
  { matrices, channelOf }: ScaleFolding,
  signal: AbortSignal | undefined,
): Promise<Float32Array> {
  const k = channelOf.length;
  let most = new Float32Array(k);
  for (const name of matrices) {
    const info = checkpoint.tensors.get(name)!;
    const rows = info.shape[0]!;
    const step = chunkRows(4 * k);
    for (let row = 0; row < rows; row += step) {
      const bytes = await checkpoint.read(name, row, Math.min(step, rows - row), signal);
      most = columnMaxima([most, decodeToF32(bytes, info.type)], k) as Float32Array<ArrayBuffer>;
    }
  }
  return most;
}
