import { quote } from '../../files/text.ts';
import { formatByName } from '../../formats/registry.ts';
import { allocateWeight, type Weight } from '../../kernels/weight.ts';
import { compressMatrix, inOutputOrder, type MatrixInputs, type MatrixLosses } from '../compress-matrix.ts';
import { uploadRows } from '../lowrank/dense-rows.ts';
import type { Whitening } from '../lowrank/whitening.ts';
import type { PlannedTensor } from '../plan.ts';
import type { Threshold } from '../pruning/find-mask.ts';
import type { SliceSource } from '../pruning/pruned-slices.ts';
import { chunkRows, readValues } from '../stored-weight.ts';
import { encodeFactor } from './encode-factor.ts';
import { addProduct, expand, readAll, relativeError, sameRoom, subtract } from './factor-arithmetic.ts';
import { factorMatrix } from './factor-matrix.ts';
import { type FactorPart, type PlannedFactors, partsOfFactors } from './plan-factors.ts';

/** A matrix as its plan factors it. */
export interface FactoredTensor {
  /** As the tensors of its plan follow each other. */
  readonly arrays: readonly Uint8Array[];
  readonly lost: MatrixLosses;
  /** What it stands for, f32; the caller's to release. */
  readonly product: Weight;
}

export interface FactorTensorInputs extends MatrixInputs {
  readonly whitening?: Whitening | undefined;
}

type Source = SliceSource & { readonly notice: (text: string) => void };

/**
 * Makes a dense matrix left · right, or base + left · right: the base is quantized, or pruned, and the product is what of its loss moves the outputs most (LQER: Zhang et al. 2024; EoRA: Liu et al.
 * 2024). A base that is quantized is also tried on what a product of the matrix itself leaves over, whose range is smaller where the spectrum decays; the better of the two is taken.
 * @throws NonFiniteError, FileError, ArgumentError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function factorTensor(
  source: Source,
  tensor: PlannedTensor,
  inputs: FactorTensorInputs,
  threshold?: Threshold,
): Promise<FactoredTensor> {
  const { gpu, signal } = source;
  const { base } = tensor.factors!;
  const [rows, k] = tensor.weight.shape as [number, number];
  const whole = allocateWeight(gpu, formatByName('f32'), rows, k, tensor.name);
  const made: Weight[] = [whole];
  const room = (label: string): Weight => {
    const weight = sameRoom(gpu, whole, `${tensor.name}, ${label}`);
    made.push(weight);
    return weight;
  };
  try {
    await fill(source, tensor, whole);
    if (!base) {
      const product = room('product');
      const arrays = await addFactors(source, tensor, inputs, { whole, rest: whole, product });
      const error = await relativeError(gpu, whole, product, inputs.quantize.hessian);
      return { arrays, product: taken(made, product), lost: { factored: { error } } };
    }
    const rest = room('rest');
    const based = async (from: Source, plain: PlannedTensor, product: Weight) => {
      const { arrays, lost } = await compressMatrix(from, plain, inputs, { correct: 0, threshold });
      await expand(gpu, arrays, base, product, signal);
      await subtract(gpu, whole, product, rest, signal);
      const factors = await addFactors(source, tensor, inputs, { whole, rest, product });
      const error = await relativeError(gpu, whole, product, inputs.quantize.hessian);
      return { product, lost, error, arrays: [...inOutputOrder(plain, arrays), ...factors] };
    };
    const { factors: _, ...plain } = tensor;
    let best = await based(source, plain, room('product'));
    if (base.kind === 'block' && !tensor.prune) {
      const product = room('other product');
      await addFactors(source, tensor, inputs, { whole, rest: whole, product });
      await subtract(gpu, whole, product, rest, signal);
      const values = await readAll(gpu, rest);
      const read: SliceSource['checkpoint']['read'] = async (_, start = 0, count = rows) =>
        new Uint8Array(values.buffer, 4 * start * k, 4 * count * k);
      const other = await based(
        { ...source, checkpoint: { name: source.checkpoint.name, read } },
        asF32(plain),
        product,
      );
      if (other.error < best.error) best = { ...other, lost: best.lost };
    }
    const { product, arrays, lost, error } = best;
    return { arrays, product: taken(made, product), lost: { ...lost, factored: { error } } };
  } finally {
    for (const weight of made) weight.release();
  }
}

/** Takes a weight from those that will be released. */
function taken(made: Weight[], weight: Weight): Weight {
  made.splice(made.indexOf(weight), 1);
  return weight;
}

/** The whole matrix, in f32. */
async function fill({ gpu, checkpoint, signal }: Source, { weight }: PlannedTensor, to: Weight): Promise<void> {
  if (weight.kind !== 'dense') throw new Error('Only dense matrices are factored.');
  const most = chunkRows(4 * to.k);
  for (let row = 0; row < to.rows; row += most) {
    const count = Math.min(most, to.rows - row);
    uploadRows(gpu, to, await readValues(checkpoint, weight, row, count, signal), row);
  }
}

/**
 * Factors `rest` and adds the product, as it is stored, to what `product` holds, or without a base puts it there.
 * @returns the arrays of the factors
 */
async function addFactors(
  { gpu, signal }: Source,
  tensor: PlannedTensor,
  { whitening }: FactorTensorInputs,
  { whole, rest, product }: { readonly whole: Weight; readonly rest: Weight; readonly product: Weight },
): Promise<readonly Uint8Array[]> {
  const factors = tensor.factors as PlannedFactors & { readonly rank: number };
  const found = await factorMatrix(gpu, rest, {
    ...{
      target: { rank: factors.rank },
      whitening,
      name: `tensor ${quote(tensor.name)}`,
      seed: factors.factoring.seed,
    },
    ...(signal && { signal }),
  });
  const parts = partsOfFactors(tensor.name, factors, whole.rows, whole.k).slice(-2) as [FactorPart, FactorPart];
  const right = await encodeFactor(gpu, parts[0], found.right, signal);
  const left = await encodeFactor(gpu, parts[1], found.left, signal);
  await addProduct(
    gpu,
    { left: left.values, right: right.values, rank: factors.rank },
    product,
    rest !== whole,
    signal,
  );
  return [...right.arrays, ...left.arrays];
}

/** The same matrix, whose values are f32 somewhere else. */
function asF32(tensor: PlannedTensor): PlannedTensor {
  const { weight } = tensor;
  return weight.kind === 'dense' ? { ...tensor, weight: { ...weight, info: { ...weight.info, type: 'F32' } } } : tensor;
}
