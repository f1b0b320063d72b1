import { quote } from '../../files/text.ts';
import { allocateWeight } from '../../kernels/weight.ts';
import { spectrumOf } from '../lowrank/spectrum.ts';
import type { PlannedTensor } from '../plan.ts';
import { eachWhitened, type WhitenedWork } from './each-whitened.ts';
import { addProduct } from './factor-arithmetic.ts';
import { factorMatrix, whitenedMatrix } from './factor-matrix.ts';
import type { Factoring } from './factoring.ts';
import { pays, type RankTarget } from './rank.ts';
import { allocateRanks, type Spectra } from './rank-budget.ts';
import { measureRankTimes, type TimedShape } from './rank-times.ts';

/**
 * The ranks of matrices whose singular values decide them, weighed by their inputs where these are known: a first pass of the same work.
 * @throws NonFiniteError, FileError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function findRanks(work: WhitenedWork<PlannedTensor>): Promise<Map<string, number>> {
  const rules = new Map<Factoring, PlannedTensor[]>();
  for (const tensor of work.tensors) {
    const { factoring } = tensor.factors!;
    rules.set(factoring, [...(rules.get(factoring) ?? []), tensor]);
  }
  const ranks = new Map<string, number>();
  for (const [{ target, whiten }, tensors] of rules) {
    const some = { ...work, tensors, by: whiten };
    const found = target.energy === undefined ? await ranksWithin(some, target) : await ranksOfEnergy(some);
    for (const [name, rank] of found) ranks.set(name, rank);
  }
  return ranks;
}

/** What the products of a matrix run on: whole, which is as it is stored, and as factors. */
function timedShape({ weight, factors }: PlannedTensor): TimedShape {
  const [rows, columns] = weight.shape as readonly [number, number];
  const { whole, format } = factors!;
  return { rows, columns, whole, factors: format };
}

/** Those with which all matrices together keep a share of what they cost: by the spectra that they have in the model as it is. */
async function ranksWithin(
  work: WhitenedWork<PlannedTensor>,
  { keep, budget }: RankTarget,
): Promise<Map<string, number>> {
  const { gpu, signal } = work;
  const spectra: Spectra[] = [];
  const times = budget === 'time' ? await measureRankTimes(gpu, work.tensors.map(timedShape), signal) : undefined;
  await eachWhitened(work, async (tensor, weight, whitening) => {
    const { name } = tensor;
    const label = `tensor ${quote(name)}`;
    const matrix = whitening ? await whitenedMatrix(gpu, weight, whitening, label, signal) : weight;
    try {
      const found = await spectrumOf(gpu, matrix, label, signal);
      const costs = times?.(timedShape(tensor));
      spectra.push({ name, rows: weight.rows, columns: weight.k, ...found, ...(costs && { costs }) });
    } finally {
      if (matrix !== weight) matrix.release();
    }
    return undefined;
  });
  return allocateRanks(spectra, keep!);
}

/**
 * The ranks at which matrices keep the share of their singular values' squares that is asked for.
 */
async function ranksOfEnergy(work: WhitenedWork<PlannedTensor>): Promise<Map<string, number>> {
  const { gpu, inputs, signal } = work;
  const ranks = new Map<string, number>();
  const propagates = inputs !== undefined && !('load' in inputs) && inputs.propagate !== false;
  await eachWhitened(work, async ({ name, factors }, weight, whitening) => {
    const { factoring } = factors!;
    const { rank, left, right } = await factorMatrix(gpu, weight, {
      ...{ target: { energy: factoring.target.energy! }, seed: factoring.seed, whitening },
      name: `tensor ${quote(name)}`,
      ...(signal && { signal }),
    });
    ranks.set(name, rank);
    // Of a matrix that will stay, since its factors do not pay, nothing is lost.
    if (!propagates || !pays(rank, weight.rows, weight.k)) return undefined;
    const product = allocateWeight(gpu, weight.format, weight.rows, weight.k, 'product of factors');
    try {
      await addProduct(gpu, { left, right, rank }, product, false, signal);
      return product;
    } catch (error) {
      product.release();
      throw error;
    }
  });
  return ranks;
}
