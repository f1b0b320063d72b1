import { type Product, type ProductTime, productKey } from '../../tuner/product-times.ts';
import { outputFormat } from '../compress-matrix.ts';
import type { PlannedTensor } from '../plan.ts';
import type { Prepared } from '../prepare.ts';
import { denseFormatOf } from '../stored-weight.ts';

/** Size and format of a matrix. */
export interface MatrixKind {
  readonly shape: readonly [rows: number, columns: number];
  readonly format: string;
}

/** Matrices of one kind: how large they are and how they are stored, before and after. */
export interface PredictedProduct {
  readonly tensors: readonly string[];
  /** Null where they are new, as factors of a residual. */
  readonly before: MatrixKind | null;
  /** Null where they are gone. */
  readonly after: MatrixKind | null;
  /** Milliseconds of one product with a token. */
  readonly milliseconds: { readonly before: number; readonly after: number };
  /** How many times as fast: the median of paired runs and its 95% interval; null where nothing changes, or all of it is gone. */
  readonly ratio: number | null;
  readonly interval: readonly [number, number] | null;
  /** Whether the interval lies above 1; null where nothing is compared. */
  readonly pays: boolean | null;
}

/** How long the products of a token take on this device, before and after. */
export interface TimePrediction {
  readonly products: readonly PredictedProduct[];
  /**
   * Milliseconds of all products of a decoded token, one after the other: those of the linear matrices and of the head, by themselves. Attention, norms and what a decoder launches together are
   * not in it.
   */
  readonly milliseconds: { readonly before: number; readonly after: number };
}

/** The products of a token by the names of their matrices. */
export type Products = ReadonlyMap<string, readonly Product[]>;

/** The matrices that a decoded token is multiplied with, as a plan stores them; undefined where no kernel multiplies with one of them. */
export function productsOf({ graph, plan }: Pick<Prepared, 'graph' | 'plan'>): Products | undefined {
  const tensors = new Map(plan.tensors.map((tensor) => [tensor.name, tensor]));
  const products = new Map<string, Product[]>();
  for (const operation of graph?.operations ?? []) {
    if (operation.op !== 'linear') continue;
    const tensor = tensors.get(operation.weight);
    if (!tensor) continue;
    const own = productsWith(tensor);
    if (!own) return undefined;
    products.set(operation.weight, own);
  }
  return products;
}

function productsWith(tensor: PlannedTensor): Product[] | undefined {
  const [rows, columns] = tensor.weight.shape as readonly [number, number];
  const { factors, weight, target } = tensor;
  if (!factors) {
    const readable = target ?? (weight.kind === 'dense' ? denseFormatOf(weight.info.type) : undefined);
    const format = weight.kind === 'quantized' ? weight.format : readable && outputFormat(tensor);
    return format && [{ rows, columns, format }];
  }
  const { rank = Math.min(rows, columns), base, format } = factors;
  const factored = [
    { rows: rank, columns, format },
    { rows, columns: rank, format },
  ];
  return base ? [{ rows, columns, format: base }, ...factored] : factored;
}

/**
 * Adds up what products take.
 * @param before the same model in the same formats where nothing was removed
 * @param time measures a product and what takes its place; it is asked once for each kind
 */
export async function predictTime(
  before: Products,
  after: Products,
  time: (before: Product, after: Product | undefined) => Promise<ProductTime>,
): Promise<TimePrediction> {
  const products: PredictedProduct[] = [];
  const all = { before: 0, after: 0 };
  for (const { was, is, tensors } of kindsOf(before, after)) {
    // What is new, as factors of a residual are, takes no time before.
    const taken = was ? await time(was, is) : { ...(await time(is!, is)), before: 0 };
    all.before += tensors.length * taken.before;
    all.after += tensors.length * taken.after;
    const compared = was !== undefined && is !== undefined && productKey(was) !== productKey(is);
    products.push({
      ...{ tensors, before: was ? described(was) : null, after: is ? described(is) : null },
      milliseconds: { before: taken.before, after: taken.after },
      ratio: compared ? taken.ratio : null,
      interval: compared ? taken.interval : null,
      pays: compared ? taken.interval[0] > 1 : null,
    });
  }
  return { products, milliseconds: all };
}

/** Products that are alike before and after, in the order of the model. */
interface Kind {
  readonly was: Product | undefined;
  readonly is: Product | undefined;
  readonly tensors: string[];
}

function kindsOf(before: Products, after: Products): Iterable<Kind> {
  const kinds = new Map<string, Kind>();
  for (const [name, products] of before) {
    const others = after.get(name) ?? [];
    for (let i = 0; i < Math.max(products.length, others.length); i++) {
      const [was, is] = [products[i], others[i]];
      const key = `${was && productKey(was)}, ${is && productKey(is)}`;
      const kind = kinds.get(key) ?? { was, is, tensors: [] };
      kind.tensors.push(name);
      kinds.set(key, kind);
    }
  }
  return kinds.values();
}

const described = ({ rows, columns, format }: Product): MatrixKind => ({
  shape: [rows, columns],
  format: format.name,
});
