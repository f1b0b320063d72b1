import * as v from 'valibot';
import { FileError, ModelError } from '../../errors.ts';
import { encodeBf16, encodeF16 } from '../../files/convert.ts';
import type { JsonObject } from '../../files/strict-json.ts';
import { quote } from '../../files/text.ts';
import type { ElementType } from '../../formats/format.ts';

// The layout of adapters that PEFT saves and loads: two files in a folder.

export const ADAPTER_WEIGHTS = 'adapter_model.safetensors';
export const ADAPTER_CONFIG = 'adapter_config.json';

/** What PEFT puts before the name of every module. */
const PREFIX = 'base_model.model.';

/** The types in which factors are written. */
export type FactorType = 'f32' | 'f16' | 'bf16';

export const FACTOR_TYPES = ['f32', 'f16', 'bf16'] as const satisfies readonly FactorType[];

export const elementTypeOf = (type: FactorType): ElementType => type.toUpperCase() as ElementType;

/** @throws NonFiniteError for a value too large for the type */
export function encodeFactor(values: Float32Array, type: FactorType, name: string): Uint8Array {
  if (type === 'f16') return encodeF16(values, name);
  if (type === 'bf16') return encodeBf16(values, name);
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** The names of a module's factors. Of an embedding the difference is (B A)ᵀ, of all else B A. */
export function factorNames(module: string, embedding: boolean): { readonly a: string; readonly b: string } {
  return embedding
    ? { a: `${PREFIX}${module}.lora_embedding_A`, b: `${PREFIX}${module}.lora_embedding_B` }
    : { a: `${PREFIX}${module}.lora_A.weight`, b: `${PREFIX}${module}.lora_B.weight` };
}

/** What a tensor of an adapter is. */
export interface AdapterTensor {
  readonly module: string;
  readonly factor: 'a' | 'b';
}

/** Undefined for tensors that are no factors, such as biases, and modules that were trained whole. */
export function adapterTensor(name: string): AdapterTensor | undefined {
  const found = /^(?:base_model\.model\.)?(.+)\.lora_(?:embedding_)?([AB])(?:\.weight)?$/.exec(name);
  if (!found) return undefined;
  return { module: found[1]!, factor: found[2] === 'A' ? 'a' : 'b' };
}

/** What is read of adapter_config.json; the rest is kept. */
const ConfigSchema = v.looseObject({
  peft_type: v.literal('LORA'),
  r: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  lora_alpha: v.pipe(v.number(), v.finite()),
  use_rslora: v.nullish(v.boolean()),
  use_dora: v.nullish(v.boolean()),
  alpha_pattern: v.nullish(v.record(v.string(), v.pipe(v.number(), v.finite()))),
  init_lora_weights: v.nullish(v.union([v.boolean(), v.string()])),
});

export type AdapterConfig = v.InferOutput<typeof ConfigSchema>;

/** @throws FileError for a config that is not of LoRA, ModelError for a kind of it whose factors alone don't say what it does */
export function parseAdapterConfig(json: JsonObject, where: string): AdapterConfig {
  const parsed = v.safeParse(ConfigSchema, json, { abortEarly: true });
  if (!parsed.success) {
    const issue = parsed.issues[0];
    throw new FileError(
      `${where}: at ${quote(v.getDotPath(issue) ?? 'the config')}: ${quote(issue.message)}. Name an adapter of LoRA, as PEFT saves it.`,
    );
  }
  const config = parsed.output;
  if (config.use_dora) {
    throw new ModelError(
      `${where}: it is an adapter of DoRA, whose magnitudes belong to its product as it is. It can't be resized.`,
    );
  }
  if (typeof config.init_lora_weights === 'string' && /^(pissa|olora|corda)/.test(config.init_lora_weights)) {
    throw new ModelError(
      `${where}: "init_lora_weights" is ${quote(config.init_lora_weights)}, so that the adapter is for a changed base, made anew from the config. Convert it to plain LoRA first.`,
    );
  }
  // PEFT takes them for regular expressions, which nobody should run for a file.
  const pattern = Object.keys(config.alpha_pattern ?? {}).find((key) => !/^[\w.-]+$/.test(key));
  if (pattern !== undefined) {
    throw new ModelError(
      `${where}: "alpha_pattern" has the pattern ${quote(pattern)}; only names of modules, or ends of them, are read. Write them out.`,
    );
  }
  return config;
}

/** The factor on B A of a module, by PEFT's rules. */
export function scalingOf(config: AdapterConfig, module: string, rank: number): number {
  const own = Object.entries(config.alpha_pattern ?? {}).find(
    ([key]) => module === key || module.endsWith(`.${key}`),
  )?.[1];
  return (own ?? config.lora_alpha) / (config.use_rslora ? Math.sqrt(rank) : rank);
}

/** The factors of one module as they are written. */
export interface AdapterModule {
  readonly module: string;
  readonly rank: number;
}

/**
 * The keys of adapter_config.json that say which ranks there are: α is the rank throughout, so that B A is the difference itself.
 * @param rank of all modules that are not named
 */
export function rankEntries(rank: number, modules: readonly AdapterModule[]): JsonObject {
  const others = Object.fromEntries(modules.filter((one) => one.rank !== rank).map((one) => [one.module, one.rank]));
  return {
    r: rank,
    lora_alpha: rank,
    rank_pattern: others,
    alpha_pattern: { ...others },
    use_rslora: false,
  };
}

/** The whole config of a new adapter. */
export function newConfig(
  rank: number,
  modules: readonly AdapterModule[],
  all: Iterable<string>,
  facts: { readonly base: string; readonly causal: boolean; readonly fanInFanOut: boolean },
): JsonObject {
  return {
    peft_type: 'LORA',
    task_type: facts.causal ? 'CAUSAL_LM' : null,
    base_model_name_or_path: facts.base,
    ...rankEntries(rank, modules),
    target_modules: targetsOf(
      modules.map(({ module }) => module),
      all,
    ),
    lora_dropout: 0,
    bias: 'none',
    fan_in_fan_out: facts.fanInFanOut,
    inference_mode: true,
    init_lora_weights: true,
    modules_to_save: null,
    use_dora: false,
  };
}

/** The last words of names where they mean the modules and no others, else whole names. */
function targetsOf(modules: readonly string[], all: Iterable<string>): string[] {
  const lastOf = (module: string) => module.slice(module.lastIndexOf('.') + 1);
  const taken = new Set(modules);
  const ambiguous = new Set([...all].filter((module) => !taken.has(module)).map(lastOf));
  const short = [...new Set(modules.map(lastOf))];
  return short.some((name) => ambiguous.has(name)) ? [...modules] : short.sort();
}
