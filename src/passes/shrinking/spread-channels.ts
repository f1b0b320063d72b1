import { checkCancelled } from '../../files/cancel.ts';
import { greatestCommonDivisor } from '../../formats/layout.ts';
import type { WeightName } from '../../graph/graph.ts';
import type { InputGroup } from '../calibration/input-groups.ts';
import type { Statistics } from '../calibration/statistics.ts';
import { walkInputs } from '../calibration/walk.ts';
import { checkpointSource } from '../load-weights.ts';
import { cheapestCounts, sharesAround } from '../spread-over-layers.ts';
import { unitErrors } from './choose-units.ts';
import type { Coupling } from './couplings.ts';
import { type ShrinkWork, type Shrunk, unitInputs } from './shrink-model.ts';

/** Weights of a block in most formats. */
const BLOCK = 32;

/**
 * The numbers of channels to try in a layer, descending: around the one that is left where all layers lose alike, in whole steps from it. Some go, and some stay.
 * @param left how many stay where all layers lose alike
 * @param step of how many channels at a time
 */
export function countsAround(left: number, units: number, step: number): number[] {
  const [least, most] = [
    left - step * Math.floor((left - 1) / step),
    left + step * Math.floor((units - 1 - left) / step),
  ];
  const counts = sharesAround(1 - left / units).map((share) => {
    const near = left + step * Math.round((units * (1 - share) - left) / step);
    return Math.min(Math.max(near, least), most);
  });
  return [...new Set([...counts, left])].sort((a, b) => b - a);
}

/**
 * How many channels of each FFN stay, by measured sensitivity: together as many as where all layers lose alike, spread so that the errors of the outputs, as measured on the inputs that
 * the original model makes, add up to the least. In steps of whole blocks.
 * @returns by the matrix that reads them
 * @throws NonFiniteError, FileError, ArgumentError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function spreadChannels(
  { shrinking, original, graph, left, steps }: Shrunk,
  { gpu, calibration, signal, onStep }: Omit<ShrinkWork, 'notice'>,
): Promise<Map<WeightName, number>> {
  const couplings = [...left.keys()].filter(({ structure }) => structure === 'ffn');
  // Where the number for all layers has whole blocks, all numbers have: what is dense now may be quantized later.
  const shared = couplings.reduce((most, coupling) => greatestCommonDivisor(most, left.get(coupling)!), BLOCK);
  const step = couplings.reduce((most, coupling) => Math.max(most, steps.get(coupling)!), shared);
  const measured = new Map<Coupling, { readonly counts: readonly number[]; readonly costs: readonly number[] }>();
  const byInput = new Map(couplings.map((coupling) => [coupling.input, coupling]));
  const visit = async ({ input }: InputGroup, statistics: Statistics) => {
    checkCancelled(signal, 'Shrinking the model');
    const coupling = byInput.get(input)!;
    const stays = countsAround(left.get(coupling)!, coupling.units, step);
    const source = { gpu, checkpoint: original, ...(signal && { signal }) };
    const costs = await unitErrors(source, coupling, stays, shrinking, await unitInputs(gpu, coupling, statistics));
    measured.set(coupling, { counts: stays.map((stay) => coupling.units - stay), costs });
    return new Map();
  };
  const source = checkpointSource(gpu, original, signal);
  const wanted = ({ input }: InputGroup) => byInput.has(input);
  const { windows } = calibration!;
  const told = { ...(signal && { signal }), ...(onStep && { onWindow: onStep }) };
  await walkInputs({ gpu, graph, source, windows, visit, wanted, ...told });
  const total = couplings.reduce((sum, coupling) => sum + coupling.units - left.get(coupling)!, 0);
  const gone = cheapestCounts(
    total,
    couplings.map((coupling) => measured.get(coupling)!),
  );
  return new Map(couplings.map(({ reader, units }, i) => [reader, units - gone[i]!]));
}
