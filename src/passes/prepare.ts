import { ArgumentError, FileError, RecipeError } from '../errors.ts';
import { checkCancelled } from '../files/cancel.ts';
import { type Checkpoint, openCheckpoint } from '../files/checkpoint.ts';
import { architectureOf } from '../files/gguf/architectures.ts';
import type { GgufEntry } from '../files/gguf/entries.ts';
import { tokenizerProblem } from '../files/gguf/tokenizer-read.ts';
import type { ModelFiles } from '../files/model-files.ts';
import type { ByteSink, OutputFolder } from '../files/sink.ts';
import type { ByteSource } from '../files/source.ts';
import { quote } from '../files/text.ts';
import { formatBytes } from '../formats/layout.ts';
import { formatByName } from '../formats/registry.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Graph } from '../graph/graph.ts';
import { findScaleFoldings, type ScaleFolding } from '../graph/scale-folding.ts';
import type { VariantChoice } from '../graph/variant-choice.ts';
import { checkCalibration } from './calibration/calibration.ts';
import { inputGroups } from './calibration/input-groups.ts';
import { kindOf, type OutputKind, presetOf, type RecipeOptions, recipeOf } from './compress-options.ts';
import { type ContainedPlan, containerByName, placeInContainer } from './containers.ts';
import { canFold, type FoldedCheckpoint, foldedCheckpoint } from './folding/folded-checkpoint.ts';
import { ggufMetadata } from './gguf-metadata.ts';
import { type GgufTarget, ggufTarget } from './gguf-plan.ts';
import { needsCalibration, scalesInputs } from './methods/method.ts';
import { modelGraph } from './model-graph.ts';
import { type CompressionPlan, graphOfCheckpoint, type Plan, planTensors } from './plan.ts';
import type { GgmlPreset } from './presets/ggml-presets.ts';
import { expandPreset } from './presets/preset-recipe.ts';
import { openAmount, removes, unpruned } from './pruning/open-amount.ts';
import { needsHessian, pruningOf } from './pruning/pruning.ts';
import { roundBytes } from './pruning/rounds.ts';
import { compileRecipe, type Recipe } from './recipe.ts';
import { RotatedCheckpoint } from './rotation/rotated-checkpoint.ts';
import type { Rotation } from './rotation/rotation.ts';
import { type Shard, shardsOf, WEIGHTS_FILE } from './shards.ts';
import { checkAlike, ownWidths } from './shrinking/ffn-widths.ts';
import { planShrinking, type ShrinkChoice } from './shrinking/plan-shrinking.ts';
import type { Shrunk } from './shrinking/shrink-model.ts';
import { shrinkingOf } from './shrinking/shrinking.ts';
import { checkWeight, findWeight, type StoredWeight } from './stored-weight.ts';
import { unpackedCheckpoint } from './unpacked-checkpoint.ts';

/** A model that is about to have factors moved between its weights. */
export interface Folding {
  /** The model as it is. */
  readonly original: Checkpoint;
  readonly folded: FoldedCheckpoint;
  readonly foldings: readonly ScaleFolding[];
}

/** What a budget of time is measured on. */
export interface MeasuringDevice {
  readonly gpu?: Gpu;
  /** Chooses among variants of kernels. */
  readonly tuner?: VariantChoice;
}

/** A compression that is decided but not begun. */
export interface Prepared {
  /** To be closed by whoever takes this. */
  readonly checkpoint: Checkpoint;
  readonly plan: Plan;
  /** The plan's, with the sizes of the source as it lies there. */
  readonly summary: CompressionPlan;
  readonly recipe: Recipe;
  /** Refuse infinity in tensors that are copied, too, as NaN always is: bare tensors may be masks, those of a model are not. */
  readonly strict: boolean;
  /** The files of weights, in the order in which they are written. */
  readonly shards: readonly Shard[];
  /** Of a model; bare tensors have none. */
  readonly graph?: Graph;
  /** Where factors of inputs may be moved, if a method wants to; `checkpoint` shows them moved. */
  readonly folding?: Folding;
  /** Where it is to get smaller first; `checkpoint` shows it so. */
  readonly shrunk?: Shrunk;
  /** The same with nothing removed, where something is; beside this, and closed with it. */
  readonly unpruned?: () => Promise<Prepared>;
  /** The same once the layers that stay, or how many channels of each, are chosen; in place of this. */
  readonly withShrunk?: (choice: ShrinkChoice) => Promise<Prepared>;
  /** The same once the ranks of all matrices are known, where singular values decide them; in place of this. */
  readonly withRanks?: (ranks: ReadonlyMap<string, number>) => Promise<Prepared>;
  /** Where another stack's container holds the matrices. */
  readonly contained?: ContainedPlan;
  readonly gguf?: { readonly target: GgufTarget; readonly entries: readonly GgufEntry[] };
}

/**
 * Opens the source, which is the caller's no more, and decides what becomes of each tensor.
 * @param options with a GPU where a budget of time is to be measured; without one the plan is of the least that can go
 */
export async function prepare(
  source: ModelFiles | ByteSource,
  options: RecipeOptions & MeasuringDevice,
  output?: OutputFolder | ByteSink,
): Promise<Prepared> {
  const { signal } = options;
  const file = 'read' in source ? source : undefined;
  let given: Recipe | undefined;
  let preset: GgmlPreset | undefined;
  let kind: OutputKind | undefined;
  try {
    checkCancelled(signal, 'The compression');
    kind = output ? kindOf(output, options.output) : options.output;
    preset = presetOf(options);
    given = preset ? undefined : recipeOf(options);
  } catch (error) {
    await file?.close();
    throw error;
  }
  const opened = await openCheckpoint(source, { checkWeight, ...(signal && { signal }) });
  try {
    return await planWithinBudget({ opened, file, kind, given, preset }, options);
  } catch (error) {
    await opened.close();
    throw error;
  }
}

/** A source that is open, and what is to be made of it. */
interface Opened {
  readonly opened: Checkpoint;
  readonly file: ByteSource | undefined;
  readonly kind: OutputKind | undefined;
  readonly given: Recipe | undefined;
  readonly preset: GgmlPreset | undefined;
  /** What there is to say about it. */
  readonly notices?: readonly string[];
}

/** The plan of a recipe whose amounts are all known, if need be after a budget decided. */
async function planWithinBudget(from: Opened, options: RecipeOptions & MeasuringDevice): Promise<Prepared> {
  const { opened, file, given } = from;
  const open = given && openAmount(given);
  if (!open) return planOpen(from, options);
  const { gpu, tuner, signal } = options;
  const { withinBudget } = await import('./pruning/within-budget.ts');
  const model = { checkpoint: opened, graph: graphOfCheckpoint(opened, file === undefined) };
  const planWith = (recipe: Recipe) => planOpen({ ...from, given: recipe }, options);
  const { recipe, notice } = await withinBudget(open, model, planWith, { gpu, tuner, signal });
  return planOpen({ ...from, given: recipe, notices: [notice] }, options);
}

/** What a plan is made again with, once it is known. */
interface Chosen {
  readonly shrink?: ShrinkChoice;
  readonly ranks?: ReadonlyMap<string, number>;
}

async function planOpen(from: Opened, options: RecipeOptions, chosen: Chosen = {}): Promise<Prepared> {
  const { signal, chunkBytes, shardBytes } = options;
  const { file, kind, given, preset } = from;
  // What other programs read has zeros for what packed weights leave out.
  const dense = kind === 'gguf' || options.container !== undefined || options.unpack;
  let checkpoint = dense ? unpackedCheckpoint(from.opened) : from.opened;
  if (kind !== undefined && kind !== 'safetensors' && file && !checkpoint.config) {
    throw new ArgumentError(
      `${checkpoint.name}: it holds bare tensors, which are compressed into a .safetensors file only. ` +
        (checkpoint.configProblem ?? 'Give the folder of the model to get a folder or a GGUF file.'),
    );
  }
  let graph = graphOfCheckpoint(checkpoint, file === undefined);
  // What a recipe asks for is in it, what goes with a format is not.
  const rotation = given ? given.rotation : options.rotation;
  const rotated = rotation && rotate(checkpoint, graph, rotation, options);
  if (rotated) {
    checkpoint = rotated;
    graph = modelGraph(rotated);
  }
  const shrinking = given?.shrink && shrinkingOf(given.shrink);
  const elsewhere =
    kind === 'gguf' ? 'GGUF' : (options.container ?? (options.unpack && 'what other programs read ("unpack")'));
  if (elsewhere) checkAlike(checkpoint.name, checkpoint.config, elsewhere, shrinking);
  const decide = given && compileRecipe(given);
  const formatOf = (name: string) => decide?.(name, 'linear')?.format;
  const shrunk = shrinking && planShrinking(checkpoint, graph, shrinking, options, formatOf, chosen.shrink);
  if (shrunk) {
    checkpoint = shrunk.narrow;
    graph = modelGraph(checkpoint);
  }
  const recipe =
    given ??
    withRotation(
      withMethod(expandPreset(preset!, graph, checkpoint.config && architectureOf(checkpoint.config)), options),
      rotation,
    );
  const target = kind === 'gguf' ? ggufTarget(checkpoint) : undefined;
  const notices = [...(from.notices ?? []), ...(await lostWith(checkpoint, kind))];
  if (kind !== 'safetensors' && (shrinking?.spreads || ownWidths(checkpoint.config))) {
    notices.push(
      'Layers have FFNs of their own width (intermediate_size is a list): Compressa runs that, other programs do not.',
    );
  }
  checkRounds(recipe, options);
  if (options.statistics?.squaresOnly) checkSquaresSuffice(recipe, options.statistics.name);
  const calibrated = calibratedWeights(checkpoint, graph, options);
  const folding = graph && foldingOf(checkpoint, graph, recipe);
  checkpoint = folding?.folded.checkpoint ?? checkpoint;
  const container = options.container === undefined ? undefined : containerByName(options.container);
  if (container && kind !== undefined && kind !== 'folder') {
    throw new ArgumentError(
      `${container.name} is a folder of Hugging Face: write a folder, or leave the container out.`,
    );
  }
  const planned = planTensors(checkpoint, graph, recipe, {
    notices,
    calibrated,
    ranks: chosen.ranks,
    ...(chunkBytes !== undefined && { chunkBytes }),
    ...(target && { gguf: target }),
  });
  const contained = container && placeInContainer(container, planned, checkpoint);
  const plan = contained?.plan ?? planned;
  if (shardBytes !== undefined && kind !== undefined && kind !== 'folder') {
    throw new ArgumentError(
      'Only a folder has its weights in several files: leave the size of files out, or write a folder.',
    );
  }
  const shards =
    kind === 'folder' || kind === undefined
      ? shardsOf(plan.tensors, shardBytes)
      : [{ file: WEIGHTS_FILE, tensors: plan.tensors }];
  const gguf = target && { target, entries: await ggufMetadata(checkpoint, target, plan, { preset, signal }) };
  return {
    checkpoint,
    plan,
    summary: await withApart(asStored(plan.summary, shrunk, rotated), { checkpoint, plan, graph, shrunk }, options),
    recipe,
    strict: graph !== undefined,
    shards,
    ...(graph && { graph }),
    ...(folding && { folding }),
    ...(shrunk && {
      shrunk,
      withShrunk: (choice) => planOpen(from, options, { ...chosen, shrink: { ...chosen.shrink, ...choice } }),
    }),
    ...(given && removes(given) && { unpruned: () => planOpen({ ...from, given: unpruned(given) }, options) }),
    ...(plan.apart.some(({ factors }) => factors && factors.rank === undefined) && {
      withRanks: (ranks) => planOpen(from, options, { ...chosen, ranks }),
    }),
    ...(gguf && { gguf }),
    ...(contained && { contained }),
  };
}

/** @throws RecipeError where rounds could not see what the last ones left */
function checkRounds({ rules, shrink }: Recipe, { calibration, statistics }: RecipeOptions): void {
  const rounds = Math.max(shrink?.rounds ?? 1, ...rules.map(({ prune }) => prune?.rounds ?? 1));
  if (rounds === 1) return;
  if (statistics) {
    throw new RecipeError(
      `${statistics.name}: statistics are of the model as it was, and each of ${rounds} rounds is calibrated on what the last one left: give a calibration text, or leave "rounds" out.`,
    );
  }
  if (calibration?.propagate !== false) return;
  throw new RecipeError(
    `Each of ${rounds} rounds is calibrated on what the last one left: let blocks see what those before them make ("propagate"), or leave "rounds" out.`,
  );
}

/** @throws RecipeError where a rule needs to know more of inputs than how large their columns are */
function checkSquaresSuffice({ rules }: Recipe, name: string): void {
  for (const { format, method, refine = 0, prune } of rules) {
    const pruning = prune && needsHessian(pruningOf(prune)) ? `pruning with ${prune.repair ?? prune.score}` : undefined;
    const why = method && needsCalibration(method) ? `the method ${method}` : refine > 0 ? 'refinement' : pruning;
    const needs = why ?? (format !== 'keep' && formatByName(format).activations === 'static' ? format : undefined);
    if (needs === undefined) continue;
    throw new RecipeError(
      `${name} is an importance matrix, which ${needs} can't do with: give a calibration text, or use the method search.`,
    );
  }
}

/** Undefined where no rule of the recipe scales inputs. */
function foldingOf(original: Checkpoint, graph: Graph, recipe: Recipe): Folding | undefined {
  if (!recipe.rules.some(({ method }) => method && scalesInputs(method))) return undefined;
  const decide = compileRecipe(recipe);
  const roles = new Map(graph.weights.map(({ name, role }) => [name, role]));
  const scales = (name: string) => {
    const method = decide(name, roles.get(name) ?? 'other')?.method;
    return method !== undefined && scalesInputs(method);
  };
  const foldings = findScaleFoldings(graph).filter(
    (folding) => folding.matrices.some(scales) && canFold(original, folding),
  );
  return { original, folded: foldedCheckpoint(original, foldings), foldings };
}

/**
 * Matrices of which a calibration shows the inputs, in its order.
 * @throws ArgumentError where there is no model to run, or its text does not fit; FileError for statistics of another model
 */
function calibratedWeights(
  { name }: Checkpoint,
  graph: Graph | undefined,
  { calibration, statistics }: RecipeOptions,
): string[] {
  if (!calibration && !statistics) return [];
  if (calibration && statistics) throw new ArgumentError('Give either a calibration text or statistics, not both.');
  if (!graph)
    throw new ArgumentError(`${name}: bare tensors can't be calibrated, since nothing says how they are used.`);
  if (calibration) checkCalibration(calibration, graph.vocabulary, graph.maxPositions);
  const roles = new Map(graph.weights.map((weight) => [weight.name, weight.role]));
  return inputGroups(graph).flatMap(({ weights, k }) => {
    // An importance matrix has linear matrices only.
    if (statistics?.squaresOnly && weights.every((weight) => roles.get(weight) !== 'linear')) return [];
    for (const weight of statistics ? weights : []) {
      const columns = statistics!.columnsOf(weight);
      if (columns === k) continue;
      const what = columns === undefined ? 'nothing of' : `${columns} columns, not ${k}, of`;
      throw new FileError(
        `${statistics!.name}: these are statistics of another model than ${name}: they have ${what} ${quote(weight)}.`,
      );
    }
    // A tied head is an embedding, too, which comes first.
    return weights.filter((weight) => roles.get(weight) !== 'embedding');
  });
}

/** The model in another basis. @throws ArgumentError, ModelError, FileError */
function rotate(
  checkpoint: Checkpoint,
  graph: Graph | undefined,
  rotation: Rotation,
  { statistics }: RecipeOptions,
): RotatedCheckpoint {
  if (!graph) {
    throw new ArgumentError(
      `${checkpoint.name}: bare tensors can't be rotated, since nothing says how they are used. Give the folder of the model.`,
    );
  }
  if (statistics) {
    throw new ArgumentError(
      `${statistics.name}: statistics are of the model as it was, not of the rotated one. Give a calibration text, or rotate the model first ("keep") and gather them from that.`,
    );
  }
  return new RotatedCheckpoint(checkpoint, graph, rotation);
}

/** Sizes of the source as it is stored, where the plan is about another form of it. */
function asStored(
  summary: CompressionPlan,
  shrunk: Shrunk | undefined,
  rotated: RotatedCheckpoint | undefined,
): CompressionPlan {
  const source = shrunk?.narrow ?? rotated;
  if (!source) return summary;
  const tensors = summary.tensors.map((tensor) => ({ ...tensor, bytesBefore: source.bytesBefore(tensor.name) }));
  return {
    ...summary,
    tensors,
    bytesBefore: tensors.reduce((sum, { bytesBefore }) => sum + bytesBefore, shrunk?.removedBytes ?? 0),
    memory: { ...summary.memory, host: summary.memory.host + (rotated?.foldBytes ?? 0) },
  };
}

/** The memory that shrinking, pruning, text and statistics take, too. */
async function withApart(
  summary: CompressionPlan,
  {
    checkpoint,
    plan,
    graph,
    shrunk,
  }: Pick<Prepared, 'checkpoint' | 'plan'> & {
    readonly graph: Graph | undefined;
    readonly shrunk: Shrunk | undefined;
  },
  { calibration, statistics }: RecipeOptions,
): Promise<CompressionPlan> {
  const { apart, calibrated } = plan;
  let { host, gpu } = summary.memory;
  const inputs = graph && (calibration || statistics) && apart.length > 0;
  const unseen = apart.filter(({ name, prune }) => prune && !calibrated.has(name));
  if (inputs || unseen.length > 0) {
    const { calibrationMemory, matrixBytes } = await import('./calibration/memory.ts');
    for (const tensor of unseen) gpu = Math.max(gpu, matrixBytes(tensor));
    if (inputs) {
      const bytesOf = (name: string) => loadedBytes(findWeight(checkpoint, name));
      const taken = calibrationMemory(graph, apart, bytesOf, calibration);
      host += taken.host + roundBytes(apart);
      gpu = Math.max(gpu, taken.gpu);
    }
  }
  if (shrunk) {
    const { shrinkMemory } = await import('./shrinking/shrink-memory.ts');
    const taken = shrinkMemory(shrunk, calibration);
    host += taken.host;
    gpu = Math.max(gpu, taken.gpu);
  }
  return { ...summary, memory: { ...summary.memory, host, gpu } };
}

/** Of a weight on the GPU as it is stored. */
function loadedBytes(weight: StoredWeight): number {
  if (weight.kind === 'dense') return weight.info.byteLength;
  return formatBytes(weight.format, weight.shape[0], weight.shape[1]);
}

const withRotation = (recipe: Recipe, rotation: Rotation | undefined): Recipe =>
  rotation ? { ...recipe, rotation } : recipe;

/** The recipe with the same method and refinement for every rule that says none. @throws RecipeError where a format does not go with it */
function withMethod(recipe: Recipe, { method, refine }: RecipeOptions): Recipe {
  if (!method && refine === undefined) return recipe;
  const how = { ...(method && { method }), ...(refine !== undefined && { refine }) };
  const all: Recipe = { ...recipe, rules: recipe.rules.map((rule) => ({ ...how, ...rule })) };
  compileRecipe(all, 'The preset');
  return all;
}

/** What a file of kind `kind` can't take over. */
async function lostWith(checkpoint: Checkpoint, kind: OutputKind | undefined): Promise<string[]> {
  if (kind === 'safetensors') {
    return checkpoint.config ? ['A .safetensors file holds the weights only: no config, no tokenizer.'] : [];
  }
  const missing = (await checkpoint.fileBytes('tokenizer.json')) === undefined;
  if (checkpoint.gguf && kind !== 'gguf') {
    const problem = missing ? await tokenizerProblem(checkpoint.gguf) : undefined;
    return problem === undefined ? [] : [`The tokenizer is left out: ${problem}.`];
  }
  return missing && !checkpoint.gguf && kind === 'gguf'
    ? ['There is no tokenizer.json, so the file has no tokenizer.']
    : [];
}
