import { ArgumentError, FormatError, RecipeError } from '../../errors.ts';
import { checkCancelled } from '../../files/cancel.ts';
import type { Checkpoint } from '../../files/checkpoint.ts';
import type { ByteSink } from '../../files/sink.ts';
import { greatestCommonDivisor } from '../../formats/layout.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { Graph } from '../../graph/graph.ts';
import type { VariantChoice } from '../../graph/variant-choice.ts';
import { ProductTimer } from '../../tuner/product-times.ts';
import type { Prepared } from '../prepare.ts';
import { compileRecipe, type Recipe } from '../recipe.ts';
import { findCouplings } from '../shrinking/couplings.ts';
import { goesInRounds, type Structure, shrinkingOf } from '../shrinking/shrinking.ts';
import { filesOutput, weightFilesOf } from '../weight-files.ts';
import { type OpenAmount, unpruned } from './open-amount.ts';
import { predictTime, productsOf } from './predict-time.ts';

/** Shares of blocks are tried in steps of 0.01%. */
const SHARES = 10_000;
/** Amounts that are timed are so many at most. */
const TIMED = 32;
/** Kernels read rows of whole vectors in another way, which is faster. */
const VECTOR = 4;

/** What a budget came to. */
export interface WithinBudget {
  readonly recipe: Recipe;
  /** The amount, and what is left. */
  readonly notice: string;
}

/** What measures a budget of time. */
interface BudgetDevice {
  readonly gpu?: Gpu | undefined;
  readonly tuner?: VariantChoice | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Finds the smallest amount with which a model keeps to a budget: of bytes by planning alone, from headers; of time by timing products on the device, in steps of 1/32.
 * @param planWith plans the same run by another recipe
 * @param device without a GPU the least amount stands for that of a budget of time
 * @throws ArgumentError where the budget holds without removing anything, or can't be reached or measured; RecipeError where ranks are not known yet; and as planning, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function withinBudget(
  open: OpenAmount,
  { checkpoint, graph }: { readonly checkpoint: Checkpoint; readonly graph: Graph | undefined },
  planWith: (recipe: Recipe) => Promise<Prepared>,
  device: BudgetDevice,
): Promise<WithinBudget> {
  const { gpu, tuner, signal } = device;
  const { budget, pattern } = open;
  const timed = budget.of === 'time';
  if (timed && !graph) {
    throw new ArgumentError(
      `${checkpoint.name}: a token takes no time in bare tensors, since nothing says how they are used. Give the folder of the model, or a budget of bytes.`,
    );
  }
  const amounts = amountsOf(open, checkpoint, graph, timed);
  if (timed && !gpu) {
    const notice = 'How much goes is found by timing products on the device, when it runs: this plan is of the least.';
    return { recipe: open.with(amounts[0]!), notice };
  }
  const before = await planWhole(open, planWith);
  const timer = timed ? new ProductTimer(gpu!, tuner, signal) : undefined;
  try {
    const cost = timer ? timeCosts(before, timer) : await byteCosts(before);
    const most = budget.keep < 1 ? budget.keep * cost.whole : budget.keep;
    if (cost.whole <= most) {
      throw new ArgumentError(
        `${checkpoint.name}: the files of weights take ${cost.whole} bytes where nothing is removed, which is within the budget of ${most}: nothing has to go.`,
      );
    }
    const plans = new Map<number, number>();
    const costAt = async (at: number): Promise<number> => {
      checkCancelled(signal, 'Planning within a budget');
      const found = plans.get(at) ?? (await cost.of(await planWith(open.with(amounts[at]!))));
      plans.set(at, found);
      return found;
    };
    let high = amounts.length - 1;
    const least = await costAt(high);
    if (least > most) throw outOfReach(checkpoint.name, open, amounts[high]!, least / cost.whole, cost.whole);
    for (let low = -1; high - low > 1; ) {
      const middle = Math.floor((low + high) / 2);
      if ((await costAt(middle)) <= most) high = middle;
      else low = middle;
    }
    const found = await costAt(high);
    const share = `${((100 * found) / cost.whole).toFixed(2)}%`;
    const came = timed
      ? `products of a token take ${share} of their time (measured; ${percent(budget.keep)} were asked for)`
      : `${found} bytes of weights are left, ${share} (${Math.floor(most)} were asked for)`;
    return { recipe: open.with(amounts[high]!), notice: `The budget takes ${pattern(amounts[high]!)}: ${came}.` };
  } finally {
    timer?.release();
  }
}

/** What a budget is a share of. */
async function planWhole(open: OpenAmount, planWith: (recipe: Recipe) => Promise<Prepared>): Promise<Prepared> {
  let whole: Prepared;
  try {
    whole = await planWith(unpruned(open.recipe));
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    const { message } = error;
    throw new FormatError(
      `${message} That is where nothing is removed, which a budget compares with: give an amount in place of "keep", or another format.`,
    );
  }
  if (!whole.withRanks) return whole;
  throw new RecipeError(
    'A budget has to know how large factors are, and the recipe finds their ranks by singular values: give "rank", or an amount in place of the budget\'s "keep".',
  );
}

const percent = (share: number): string => `${Number((100 * share).toFixed(2))}%`;

function outOfReach(name: string, open: OpenAmount, amount: string, share: number, whole: number): ArgumentError {
  const { budget, pattern } = open;
  const left = percent(share);
  if (budget.of === 'bytes') {
    const asked = budget.keep < 1 ? percent(budget.keep) : `${budget.keep} bytes`;
    return new ArgumentError(
      `${name}: ${asked} can't be kept to: with ${pattern(amount)} ${Math.ceil(share * whole)} bytes of weights are left, ${left}. Give a larger budget, or remove something else as well.`,
    );
  }
  const never = share >= 1 ? 'which never pays here' : `so a share of ${percent(budget.keep)} is out of reach`;
  return new ArgumentError(
    `${name}: with ${pattern(amount)} products of a token take ${left} of their time in dense weights of the same format on this device (measured), ${never}. Give a larger share, or another pattern: ffn makes matrices smaller.`,
  );
}

interface Costs {
  /** Where nothing is removed. */
  readonly whole: number;
  of(prepared: Prepared): Promise<number>;
}

async function byteCosts(before: Prepared): Promise<Costs> {
  return { whole: await bytesOfFiles(before), of: bytesOfFiles };
}

function timeCosts(before: Prepared, timer: ProductTimer): Costs {
  const products = (prepared: Prepared) => {
    const found = productsOf(prepared);
    if (found) return found;
    throw new ArgumentError(
      `${prepared.checkpoint.name}: some of its matrices are of types that no kernel multiplies with, so that a token takes no time that could be measured: give a budget of bytes.`,
    );
  };
  const whole = products(before);
  return {
    whole: 1,
    async of(prepared) {
      const { milliseconds } = await predictTime(whole, products(prepared), (was, is) => timer.time(was, is));
      return milliseconds.after / milliseconds.before;
    },
  };
}

/** Bytes of the files of weights that a plan would write, headers included. */
export async function bytesOfFiles(prepared: Prepared): Promise<number> {
  let bytes = 0;
  const sink: ByteSink = {
    name: 'a plan',
    async write(piece) {
      bytes += piece.byteLength;
    },
    skip(count) {
      bytes += count;
    },
    async commit() {},
    async abort() {},
  };
  const output = filesOutput(weightFilesOf(prepared), async () => sink);
  for (const { tensors } of prepared.shards) for (const tensor of tensors) await output.skip(tensor);
  await output.finish();
  return bytes;
}

/** Amounts that a pattern can have, each larger than the one before. @throws ArgumentError where nothing can go */
function amountsOf(
  { structure, recipe }: OpenAmount,
  checkpoint: Checkpoint,
  graph: Graph | undefined,
  timed: boolean,
): string[] {
  if (!structure) {
    const steps = timed ? TIMED : SHARES;
    return Array.from({ length: steps - 1 }, (_, i) => `${Number(((100 * (i + 1)) / steps).toFixed(3))}%`);
  }
  const { name } = checkpoint;
  if (!graph)
    throw new ArgumentError(
      `${name}: bare tensors can't be shrunk, since nothing says how they are used. Give the folder of the model.`,
    );
  const { units, step } = unitsOf(structure, recipe, graph, name, timed);
  const apart = timed ? step * Math.ceil(units / TIMED / step) : step;
  const counts: string[] = [];
  // Layers go at once, before the rounds of what else there is.
  const { rounds } = shrinkingOf(recipe.shrink!);
  for (let stay = Math.floor((units - 1) / apart) * apart; stay > 0; stay -= apart) {
    if (structure === 'layers' || goesInRounds(units, stay, rounds)) counts.push(String(units - stay));
  }
  if (counts.length > 0) return counts;
  throw new ArgumentError(
    `${name}: it has ${units} ${structure} in all, of which none can go: leave ${structure} out.`,
  );
}

/** How many there are, and what numbers of those that stay are multiples of: whole blocks of the formats of the matrices that read them, and where products are timed rows of whole vectors. */
function unitsOf(
  structure: Structure,
  recipe: Recipe,
  graph: Graph,
  name: string,
  timed: boolean,
): { readonly units: number; readonly step: number } {
  if (structure === 'layers') return { units: graph.layers, step: 1 };
  const decide = compileRecipe(recipe);
  const couplings = findCouplings(graph, structure, name);
  const steps = couplings.map(({ reader, columns }) => {
    const block = Math.max(decide(reader, 'linear')?.format?.block ?? 1, timed ? VECTOR : 1);
    return block / greatestCommonDivisor(block, columns);
  });
  return {
    units: Math.min(...couplings.map(({ units }) => units)),
    step: steps.reduce((all, step) => (all * step) / greatestCommonDivisor(all, step)),
  };
}
