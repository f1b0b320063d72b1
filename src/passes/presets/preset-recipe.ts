import { RecipeError } from '../../errors.ts';
import type { GgufArchitecture } from '../../files/gguf/architectures.ts';
import { ggufName } from '../../files/gguf/tensor-names.ts';
import { formatAliases, formatByName, formats } from '../../formats/registry.ts';
import type { Graph, GraphWeight, Operation } from '../../graph/graph.ts';
import { MAX_RULES, type Recipe, type Rule } from '../recipe-schema.ts';
import { type GgmlPreset, ggmlPresets, type LayerFacts } from './ggml-presets.ts';

/**
 * The preset of llama.cpp that users call `name`, in capitals or not. A name that is also a format's is the format's in small letters:
 * `q6_k` compresses linear matrices only, `Q6_K` all of them.
 */
export function presetByName(name: string): GgmlPreset | undefined {
  if (name in formatAliases || formats.some((format) => format.name === name)) return undefined;
  return ggmlPresets.find((preset) => preset.name === name.toUpperCase());
}

/** What takes the place of a format whose block does not divide a row (`tensor_type_fallback`). */
const FALLBACKS: Readonly<Record<string, string>> = {
  q2_k: 'q4_0',
  q3_k: 'q4_0',
  q4_k: 'q5_0',
  q5_k: 'q5_1',
  q6_k: 'q8_0',
};

const fits = (format: string, k: number): boolean => k % formatByName(format).block === 0;

/** A format for rows of `k` weights. */
function fallback(format: string, k: number): string {
  if (fits(format, k)) return format;
  const other = FALLBACKS[format];
  return other !== undefined && fits(other, k) ? other : 'f16';
}

/**
 * The recipe that a preset stands for, for one model: each matrix gets the type that llama.cpp's `llama_model_quantize` gives it without
 * an importance matrix. `architecture` is the model's in GGUF.
 * @throws RecipeError where there is no model to go by, but bare tensors
 */
export function expandPreset(
  preset: GgmlPreset,
  graph: Graph | undefined,
  architecture: GgufArchitecture | undefined,
): Recipe {
  if (!graph) {
    throw new RecipeError(
      `${preset.name} depends on what each matrix is for, which bare tensors don't say: give the folder of the model, or a format (${preset.base}).`,
    );
  }
  const named = new Map<string, string[]>();
  for (const weight of graph.weights) {
    if (weight.shape.length !== 2) continue;
    const format = formatOf(preset, weight, graph, architecture);
    named.set(format, [...(named.get(format) ?? []), weight.name]);
  }
  return { version: 1, rules: [...named].flatMap(([format, names]) => rulesOf(format, names)) };
}

/** As few rules as take all names. */
const rulesOf = (format: string, names: readonly string[]): Rule[] =>
  Array.from({ length: Math.ceil(names.length / MAX_RULES) }, (_, i) => ({
    match: names.slice(i * MAX_RULES, (i + 1) * MAX_RULES),
    format,
  }));

function formatOf(
  preset: GgmlPreset,
  { name, shape, role, layer }: GraphWeight,
  graph: Graph,
  architecture: GgufArchitecture | undefined,
): string {
  const k = shape[1]!;
  const tied = !graph.weights.some((weight) => weight.role === 'head');
  if (role === 'head' || (role === 'embedding' && tied)) return fallback(fits(preset.base, k) ? 'q6_k' : 'q8_0', k);
  const part = ggufName(name, architecture?.postNorms)?.replace(/^blk\.\d+\./, '');
  const facts: LayerFacts = { layer: layer ?? 0, layers: graph.layers, queriesPerKey: queriesPerKey(graph) };
  return fallback(formatInLayer(preset, part, facts, architecture) ?? preset.base, k);
}

function formatInLayer(
  { base, values, attentionOutput, down }: GgmlPreset,
  part: string | undefined,
  facts: LayerFacts,
  architecture: GgufArchitecture | undefined,
): string | undefined {
  if (part === 'attn_output.weight') return attentionOutput;
  if (part === 'ffn_down.weight') return down?.(facts);
  if (part !== 'attn_v.weight') return undefined;
  const format = values?.(facts) ?? base;
  return isOf70Billion(architecture, facts) && (format === 'q3_k' || format === 'q4_k') ? 'q5_k' : format;
}

/** Models that llama.cpp takes for one of 70 billion weights (`LLM_TYPE_70B`), whose values get more bits. */
const isOf70Billion = (architecture: GgufArchitecture | undefined, { layers, queriesPerKey }: LayerFacts): boolean =>
  layers === 80 && (architecture?.name === 'qwen2' || (architecture?.name === 'llama' && queriesPerKey !== 1));

/** As llama.cpp has it: of the first layer, cut to a whole number. */
function queriesPerKey({ operations }: Graph): number {
  const attention = operations.find((each): each is Operation & { op: 'attention' } => each.op === 'attention');
  return attention ? Math.floor(attention.heads / attention.kvHeads) : 1;
}
