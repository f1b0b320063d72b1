import type { BufferView, Step } from '../gpu/kernel.ts';
import { gatedStep } from '../kernels/gated.ts';
import type { Columns } from '../kernels/linear.ts';
import { linearVariants } from '../kernels/linear-variants.ts';
import { type StackLimits, stackedVector, stackedWeight } from '../kernels/stack-weights.ts';
import { MOST_LANES, sumLinearStep, sumsInOne } from '../kernels/sum-linear.ts';
import type { Weight } from '../kernels/weight.ts';
import type { OperationOf, Term } from './fuse.ts';
import type { WeightName } from './graph.ts';
import { productSteps, type StepContext, vectorOf, weightOf } from './operation-steps.ts';

type Linear = OperationOf<'linear'>;

/** Products of one input as one: their weights stacked, and their biases where they have some. */
interface Stacked {
  readonly weight: Weight;
  readonly bias: BufferView | undefined;
}

/** Undefined where the weights, or the biases, do not follow each other in memory. */
export function stackedProducts(
  weights: ReadonlyMap<WeightName, Weight>,
  products: readonly Linear[],
  limits: StackLimits,
): Stacked | undefined {
  const found = products.map((product) => weights.get(product.weight));
  const biases = products.flatMap(({ bias }) => (bias === undefined ? [] : [weights.get(bias)]));
  const all = [...found, ...biases].every((one) => one !== undefined);
  if (!all || (biases.length > 0 && biases.length < products.length)) return undefined;
  const weight = stackedWeight(found as Weight[], limits);
  const bias = biases.length > 0 ? stackedVector(biases as Weight[], limits) : undefined;
  return weight && (biases.length === 0 || bias) ? { weight, bias } : undefined;
}

/** Where the products of some matrices go. */
interface TermTarget {
  readonly y: BufferView;
  readonly into?: Columns;
  readonly adds?: boolean;
}

/** What matrices of one input make of it, one behind the other: as many in one launch as lie together. */
export function termSteps(
  context: StepContext,
  terms: readonly Term[],
  target: TermTarget,
  limits: StackLimits,
): Step[] {
  const [{ x }] = terms as [Term];
  const sum = sumOf(context, terms, limits);
  if (sum) return sumSteps(context, terms, sum, target);
  const rows = terms.map((term) => weightOf(context, (term.factors?.left ?? term.base!).weight).rows);
  const startOf = (place: number) => rows.slice(0, place).reduce((sum, count) => sum + count, target.into?.start ?? 0);
  const width = target.into?.width ?? startOf(terms.length);
  const at = (place: number) => ({ y: target.y, into: { start: startOf(place), width } });
  const sums = terms.flatMap((term) => sumOf(context, [term], limits) ?? []);
  if (terms.length > 1 && sums.length === terms.length) {
    return terms.flatMap((term, i) => sumSteps(context, [term], sums[i]!, { ...target, ...at(i) }));
  }
  const steps: Step[] = [];
  for (let from = 0; from < terms.length; ) {
    const bases = basesFrom(terms, from);
    if (bases.length === 0) {
      from++;
      continue;
    }
    let count = bases.length;
    let stacked = stackedProducts(context.buffers.weights, bases, limits);
    while (!stacked && count > 1) stacked = stackedProducts(context.buffers.weights, bases.slice(0, --count), limits);
    const some = bases.slice(0, count);
    const { weight, bias } = stacked ?? { weight: weightOf(context, some[0]!.weight), bias: undefined };
    const label = some.map((product) => product.weight).join(' + ');
    steps.push(...productSteps(context, { ...at(from), x, weight, bias, label, adds: target.adds ?? false }));
    from += count;
  }
  for (const [place, { base, factors }] of terms.entries()) {
    if (!factors) continue;
    const adds = base !== undefined || target.adds === true;
    steps.push(...factorSteps(context, factors, { ...at(place), adds }));
  }
  return steps;
}

/** The matrices from a place on, up to the next term that has factors only. */
function basesFrom(terms: readonly Term[], from: number): Linear[] {
  const end = terms.findIndex(({ base }, place) => place >= from && !base);
  return terms.slice(from, end < 0 ? terms.length : end).map(({ base }) => base!);
}

/** left (right x): two products, whose inner values nobody else sees. */
function factorSteps(
  context: StepContext,
  { right, left }: NonNullable<Term['factors']>,
  target: Required<TermTarget>,
): Step[] {
  const first = weightOf(context, right.weight);
  const inner = context.room(context.tokens * first.rows, 'inner values');
  const inside = { ...context, value: (name: string) => (name === left.x ? inner : context.value(name)) };
  const bias = left.bias === undefined ? undefined : vectorOf(context, left.bias);
  return [
    ...productSteps(context, { x: right.x, weight: first, y: inner, label: right.weight }),
    ...productSteps(inside, { ...target, x: left.x, weight: weightOf(context, left.weight), bias, label: left.weight }),
  ];
}

/** What the gate of two matrices of one input lets through. */
export function gatedTermSteps(
  context: StepContext,
  terms: readonly [Term, Term],
  { y, activation }: { readonly y: BufferView; readonly activation: 'silu' | 'gelu' },
  limits: StackLimits,
): Step[] {
  const { x } = terms[0];
  const bases = terms.flatMap(({ base }) => base ?? []);
  if (!terms.some(({ factors }) => factors)) {
    const stacked = stackedProducts(context.buffers.weights, bases, limits)!;
    const label = bases.map(({ weight }) => weight).join(' + ');
    return productSteps(context, { ...stacked, x, y, label, gate: activation });
  }
  const sum = sumOf(context, terms, limits);
  if (sum) return sumSteps(context, terms, sum, { y, gate: activation });
  const count = y.size! / 4;
  const rooms = terms.map(() => context.room(count, 'gated'));
  return [
    ...terms.flatMap((term, i) => termSteps(context, [term], { y: rooms[i]! }, limits)),
    gatedStep({ activation, gate: rooms[0]!, up: rooms[1]!, out: y, count }),
  ];
}

/** Matrices and their factors, each kind one behind the other. */
interface StackedSum {
  readonly base: Weight;
  readonly right: Weight;
  readonly left: Weight;
  /** Threads that share rows. */
  readonly lanes: number;
}

/**
 * What one launch can add up for one token. Undefined where weights do not lie together, or in a form that this takes; and where a product of the matrices alone is faster in another way
 * than by threads that share rows: that, and the factors behind it, take less time.
 */
function sumOf({ buffers, tokens }: StepContext, terms: readonly Term[], limits: StackLimits): StackedSum | undefined {
  const bases = terms.flatMap(({ base }) => base ?? []);
  const factors = terms.flatMap((term) => term.factors ?? []);
  const whole = bases.length === terms.length && factors.length === terms.length;
  if (tokens !== 1 || !whole || bases.some(({ bias }) => bias !== undefined)) return undefined;
  const stack = (products: readonly Linear[]) => stackedProducts(buffers.weights, products, limits)?.weight;
  const base = stack(bases);
  const right = stack(factors.map((one) => one.right));
  const left = stack(factors.map((one) => one.left));
  if (!base || !right || !left || !sumsInOne(base, left, terms.length)) return undefined;
  const chosen = buffers.linearVariant({ rows: base.rows, k: base.k, tokens }, base.format);
  const lanes = linearVariants.find(({ name }) => name === chosen)?.lanes;
  return lanes === undefined ? undefined : { base, right, left, lanes: Math.min(lanes, MOST_LANES) };
}

/** All inner values in one launch, then all sums in another. */
function sumSteps(
  context: StepContext,
  terms: readonly Term[],
  { base, right, left, lanes }: StackedSum,
  target: TermTarget & { readonly gate?: 'silu' | 'gelu' },
): Step[] {
  const { x } = terms[0]!;
  const inner = context.room(right.rows, 'inner values');
  const names = (of: (term: Term) => Linear) => terms.map((term) => of(term).weight).join(' + ');
  return [
    ...productSteps(context, { x, weight: right, y: inner, label: names(({ factors }) => factors!.right) }),
    sumLinearStep({
      ...{ ...target, x: context.value(x), base, left, inner, lanes, label: names((term) => term.base!) },
      rows: terms.map((term) => weightOf(context, term.base!.weight).rows),
    }),
  ];
}
