import { ArgumentError } from '../errors.ts';
import type { ByteSink, OutputFolder } from '../files/sink.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { VariantChoice } from '../graph/variant-choice.ts';
import type { Calibration } from './calibration/calibration.ts';
import type { StatisticsSource } from './calibration/statistics.ts';
import type { ContainerName } from './containers.ts';
import type { Method } from './methods/method.ts';
import type { CompressionPlan } from './plan.ts';
import type { GgmlPreset } from './presets/ggml-presets.ts';
import { presetByName } from './presets/preset-recipe.ts';
import { compileRecipe, presetRecipe, type Recipe } from './recipe.ts';
import type { Rotation } from './rotation/rotation.ts';
import type { TimelineSpan } from './timeline.ts';

/** How far a compression is. */
export interface CompressProgress {
  /** Bytes of the input done and in all. */
  readonly done: number;
  readonly total: number;
  /** The tensor that was written last, or, in a stage, is at work. */
  readonly tensor: string;
  /** What is going on before anything is written, where that takes long. */
  readonly stage?: CompressStage;
}

/** How far a stage is that has to be through before the first tensor is written. */
export interface CompressStage {
  /** Choosing layers, for instance. */
  readonly name: string;
  /** Steps of it, such as windows of a calibration times pieces of the model, done and in all. */
  readonly done: number;
  readonly total: number;
}

/** What a compression writes: a folder as Hugging Face has them, or a single file. */
export type OutputKind = 'folder' | 'safetensors' | 'gguf';

/** What a compression makes of a model; enough to plan it. */
export interface RecipeOptions {
  /** Which format each matrix gets. */
  readonly recipe?: Recipe;
  /**
   * In place of a recipe: this format for all linear matrices, `keep` for none, or a mixture for all matrices by its name in llama.cpp,
   * such as `Q4_K_M`. Default: `q4_0`.
   */
  readonly format?: string;
  /** With `format`: how codes and scales are chosen; default: scales are searched for where the format allows it. */
  readonly method?: Method;
  /** With `format`: rounds of refinement against the calibration; default: 3 with `gptq`, else none. */
  readonly refine?: number;
  /** With `format`: rotate the model first. */
  readonly rotation?: Rotation;
  /** Text that shows what the inputs of the matrices are like: `gptq`, `awq` and `smoothquant` need it, `search` weighs errors by it. */
  readonly calibration?: Calibration;
  /** The same, gathered before: in place of `calibration`. Blocks are then not shown what compressed earlier ones make. */
  readonly statistics?: StatisticsSource;
  /** What is written. Default: a folder where there is one; a file by the ending of its name, `.gguf` or else safetensors. */
  readonly output?: OutputKind;
  /** In a folder: store quantized matrices as another stack does, described in config.json, in place of the weight tree. */
  readonly container?: ContainerName;
  /** Write packed weights of the source as dense ones, with zeros, as GGUF and containers always get them. */
  readonly unpack?: boolean;
  /** Bytes of a tensor to read at a time: what bounds the memory of a run. Default: 64 MiB. The result is the same. */
  readonly chunkBytes?: number;
  /** In a folder: most bytes of tensors in a file of weights; a larger tensor has a file of its own. Default: 5 GB. */
  readonly shardBytes?: number;
  readonly signal?: AbortSignal;
}

/** What a compression makes of a model, and on which GPU. */
export interface CompressOptions extends RecipeOptions {
  readonly gpu: Gpu;
  /**
   * Chooses among variants of kernels where the model runs: only among those that give the same bits (products of integers), so that the result is the same.
   */
  readonly tuner?: VariantChoice;
  /** Called after each piece that is written. */
  readonly onProgress?: (progress: CompressProgress) => void;
  /** Called once, before anything is written. */
  readonly onPlan?: (plan: CompressionPlan) => void;
  /**
   * Go on with what an interrupted run of the same job left in `output`, and leave the same where this one is interrupted. The
   * output has to be opened with `resume`, too. The result is the same.
   */
  readonly resume?: boolean;
  /** Called as each stage is done with some rows of a tensor, or with all of one that is pruned, factored or calibrated, whose reading counts as computing. */
  readonly onTimeline?: (span: TimelineSpan) => void;
}

/** The format where neither a recipe nor a format is named. */
export const DEFAULT_FORMAT = 'q4_0';

/** The preset that `format` names, whose recipe depends on the model. */
export const presetOf = ({ recipe, format }: RecipeOptions): GgmlPreset | undefined =>
  recipe === undefined && format !== undefined ? presetByName(format) : undefined;

/** A recipe as it will run. @throws RecipeError, FormatError, ArgumentError */
export function recipeOf({ recipe, format, method, refine, rotation }: RecipeOptions): Recipe {
  if (recipe !== undefined && format !== undefined) {
    throw new ArgumentError('Give either a recipe or a format, not both.');
  }
  if (recipe !== undefined && (method !== undefined || refine !== undefined)) {
    throw new ArgumentError(
      'Give a method, or rounds of refinement, with a format; the rules of a recipe name their own.',
    );
  }
  if (recipe !== undefined && rotation !== undefined) {
    throw new ArgumentError('Give a rotation with a format; a recipe has a key "rotation" for it.');
  }
  if (recipe === undefined) {
    if (format === '')
      throw new ArgumentError(`The format is empty. Name one, such as ${DEFAULT_FORMAT}, or leave it out.`);
    const preset = {
      ...presetRecipe(format ?? DEFAULT_FORMAT, { ...(method && { method }), ...(refine !== undefined && { refine }) }),
      ...(rotation && { rotation }),
    };
    compileRecipe(preset, 'The format');
    return preset;
  }
  compileRecipe(recipe);
  return recipe;
}

/** What goes into `output`. @throws ArgumentError where it can't be what is wanted */
export function kindOf(output: OutputFolder | ByteSink, wanted: OutputKind | undefined): OutputKind {
  const folder = 'file' in output;
  if (wanted === undefined) return folder ? 'folder' : /\.gguf$/i.test(output.name) ? 'gguf' : 'safetensors';
  if (folder === (wanted === 'folder')) return wanted;
  throw new ArgumentError(`${output.name} is a ${folder ? 'folder' : 'file'}, so it can't be written as ${wanted}.`);
}
