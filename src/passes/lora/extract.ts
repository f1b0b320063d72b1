import { CancelledError, ModelError } from '../../errors.ts';
import type { Checkpoint } from '../../files/checkpoint.ts';
import type { OutputFolder } from '../../files/sink.ts';
import { quote } from '../../files/text.ts';
import { formatByName } from '../../formats/registry.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import { allocateWeight } from '../../kernels/weight.ts';
import { readFloats, uploadRows } from '../lowrank/dense-rows.ts';
import { checkRandomizedSvd, type RandomizedSvdOptions, svd } from '../lowrank/svd.ts';
import { guessRole } from '../plan.ts';
import { globMatcher } from '../recipe.ts';
import { adapterWriter } from './adapter-writer.ts';
import { type DifferenceRows, differenceRows, differs, pairWeights, type WeightPair } from './difference.ts';
import { elementTypeOf, encodeFactor, type FactorType, factorNames, newConfig } from './peft.ts';
import { leftFactor, rightFactor } from './split.ts';

/** What an adapter is made of. */
export interface ExtractAdapterOptions extends Pick<RandomizedSvdOptions, 'oversampling' | 'powerIterations' | 'seed'> {
  readonly gpu: Gpu;
  /** Of each matrix, or its smaller side where that is less. */
  readonly rank: number;
  /** Globs of names: other weights are left out. Default: all. */
  readonly match?: string | string[];
  /** Default: f32. */
  readonly type?: FactorType;
  readonly signal?: AbortSignal;
  /** Called as weights are done; in weights. */
  readonly onProgress?: (done: number, total: number, tensor: string) => void;
}

/** What became of the difference of a matrix. */
export interface ExtractedModule {
  readonly module: string;
  readonly rank: number;
  /** [out, in], as PEFT counts them. */
  readonly shape: readonly [number, number];
  /** ‖Δ‖ / ‖base‖ (Frobenius); 1 where the base is zero. */
  readonly change: number;
  /** ‖Δ − BA‖ / ‖Δ‖, but for the rounding of the factors. */
  readonly error: number;
}

/** What an adapter holds, and notices of what it leaves out. */
export interface ExtractedAdapter {
  readonly modules: readonly ExtractedModule[];
  /** What the adapter can't carry, or does not. */
  readonly notices: readonly string[];
}

/** Models whose layers keep their matrices as [in, out], and which those are. */
const CONV1D_MODELS = new Set(['gpt2', 'openai-gpt', 'imagegpt']);
const CONV1D = /(^|\.)(c_attn|c_proj|c_fc|q_attn)\.weight$/;

/**
 * The difference of two checkpoints as an adapter of PEFT: of each matrix that changed, B A ≈ tuned − base by a truncated SVD, its singular values shared out to both
 * factors. Weights that are stored in a format are dequantized. Two passes over the checkpoints; one matrix is in memory at a time, on the GPU. The output is aborted where
 * something fails; the checkpoints stay open.
 * @throws ModelError for checkpoints that are not of one model, or do not differ; ArgumentError for a rank below 1 or above all sides; NonFiniteError, FileError, RecipeError,
 * CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function extractAdapter(
  base: Checkpoint,
  tuned: Checkpoint,
  output: OutputFolder,
  options: ExtractAdapterOptions,
): Promise<ExtractedAdapter> {
  try {
    return await extract(base, tuned, output, options);
  } catch (error) {
    await output.abort();
    if (!options.signal?.aborted && !(error instanceof CancelledError)) throw error;
    throw new CancelledError('The extraction', 'nothing was written');
  }
}

async function extract(
  base: Checkpoint,
  tuned: Checkpoint,
  output: OutputFolder,
  options: ExtractAdapterOptions,
): Promise<ExtractedAdapter> {
  const { rank, type = 'f32', signal, onProgress } = options;
  const matches = options.match === undefined ? () => true : globMatcher(options.match, '"match"');
  const pairs = pairWeights(base, tuned);
  const sides = pairs.filter(isModule).map(({ shape }) => Math.min(...shape));
  if (sides.length === 0)
    throw new ModelError(`${base.name}: there is no matrix of floats that an adapter could change.`);
  checkRandomizedSvd({ ...options, name: 'the largest matrix' }, Math.max(...sides));
  const total = 2 * pairs.reduce((sum, pair) => sum + elements(pair), 0);
  let done = 0;
  const step = (pair: WeightPair) => {
    done += elements(pair);
    onProgress?.(done, total, pair.name);
  };
  onProgress?.(0, total, '');
  const changed: WeightPair[] = [];
  for (const pair of pairs) {
    if (await differs(base, tuned, pair, signal)) changed.push(pair);
    else done += elements(pair);
    step(pair);
  }
  const chosen = changed.filter((pair) => isModule(pair) && matches(pair.name));
  if (chosen.length === 0) {
    throw new ModelError(
      changed.length === 0
        ? `${tuned.name}: its weights are those of ${base.name}; there is nothing to extract.`
        : `${tuned.name}: of what differs from ${base.name}, ${listed(changed)}, there is no matrix to extract.`,
    );
  }
  const fanInFanOut = CONV1D_MODELS.has(String(base.config?.model_type));
  const turned = (name: string) => isEmbedding(name) || (fanInFanOut && CONV1D.test(name));
  const plans = chosen.map((pair) => {
    const [rows, columns] = pair.shape as readonly [number, number];
    const module = moduleOf(pair.name);
    const own = Math.min(rank, rows, columns);
    const [out, into] = turned(pair.name) ? [columns, rows] : [rows, columns];
    return { pair, module, rank: own, out, into, names: factorNames(module, isEmbedding(pair.name)) };
  });
  const writer = await adapterWriter(
    output,
    plans.flatMap(({ names, rank, out, into }) => [
      { name: names.a, type: elementTypeOf(type), shape: [rank, into] },
      { name: names.b, type: elementTypeOf(type), shape: [out, rank] },
    ]),
  );
  const modules: ExtractedModule[] = [];
  for (const { pair, module, names, out, into, ...plan } of plans) {
    const rows = differenceRows(base, tuned, pair, signal);
    const found = await factorDifference(pair, rows, `The difference of ${quote(pair.name)}`, plan.rank, options);
    const [a, b] = turned(pair.name) ? [found.left, found.right] : [found.right, found.left];
    await writer.write(names.a, encodeFactor(rightFactor(a, found.values), type, names.a));
    await writer.write(names.b, encodeFactor(leftFactor(b, found.values), type, names.b));
    modules.push({ module, rank: plan.rank, shape: [out, into], change: found.change, error: found.error });
    step(pair);
  }
  const architecture = Array.isArray(base.config?.architectures) ? String(base.config.architectures[0]) : '';
  const config = newConfig(
    rank,
    plans,
    pairs.filter(isModule).map(({ name }) => moduleOf(name)),
    {
      ...{ base: base.name, fanInFanOut, causal: /ForCausalLM$|LMHeadModel$/.test(architecture) },
    },
  );
  await writer.finish(config);
  onProgress?.(total, total, '');
  const left = changed.filter((pair) => !chosen.includes(pair));
  const notices = left.length === 0 ? [] : [`The adapter leaves out what else changed: ${listed(left)}.`];
  return { modules, notices };
}

const elements = ({ shape }: WeightPair) => shape.reduce((product, size) => product * size, 1);

const isModule = ({ name, shape }: WeightPair) => shape.length === 2 && !shape.includes(0) && name.endsWith('.weight');

const moduleOf = (name: string) => name.slice(0, -'.weight'.length);

const isEmbedding = (name: string) => guessRole({ name, shape: [1, 1] }) === 'embedding';

/** Some names, and how many more there are. */
function listed(pairs: readonly WeightPair[]): string {
  const some = pairs.slice(0, 3).map(({ name }) => quote(name));
  const more = pairs.length - some.length;
  return `${some.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

/** The truncated SVD of a difference, and how much of it is left. */
async function factorDifference(
  { name, shape }: WeightPair,
  pieces: AsyncGenerator<DifferenceRows>,
  what: string,
  rank: number,
  { gpu, oversampling, powerIterations, seed, signal }: ExtractAdapterOptions,
) {
  const [rows, columns] = shape as readonly [number, number];
  const weight = allocateWeight(gpu, formatByName('f32'), rows, columns, name);
  try {
    let [squares, before] = [0, 0];
    for await (const { start, values, base } of pieces) {
      for (const value of values) squares += value * value;
      for (const value of base) before += value * value;
      uploadRows(gpu, weight, values, start);
    }
    const found = await svd(gpu, weight, {
      ...{ rank, name: what },
      ...(oversampling !== undefined && { oversampling }),
      ...(powerIterations !== undefined && { powerIterations }),
      ...(seed !== undefined && { seed }),
      ...(signal && { signal }),
    });
    try {
      const values = found.singularValues;
      const kept = values.reduce((sum, value) => sum + value * value, 0);
      return {
        values,
        left: await readFloats(gpu, found.u, rows * rank),
        right: await readFloats(gpu, found.v, columns * rank),
        change: before === 0 ? 1 : Math.sqrt(squares / before),
        error: Math.sqrt(Math.max(0, 1 - kept / squares)),
      };
    } finally {
      found.release();
    }
  } finally {
    weight.release();
  }
}
