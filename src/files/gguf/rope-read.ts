import { ModelError } from '../../errors.ts';
import type { JsonObject } from '../strict-json.ts';
import { quote } from '../text.ts';
import { type Metadata, shortest } from './metadata.ts';
import type { GgufFile } from './read.ts';
import { llama3Scaling } from './rope-factors.ts';
import { ROPE_FACTORS } from './tensor-names.ts';

/** Most numbers of `rope_freqs.weight`: half a head. */
const MAX_ROPE_FACTORS = 4096;

/** `rope_scaling` of config.json. @throws ModelError for a scaling that is not supported */
export async function ropeScaling(
  file: GgufFile,
  meta: Metadata,
  prefix: string,
  headDim: number,
  theta: number,
  signal?: AbortSignal,
): Promise<JsonObject | undefined> {
  const factors = file.tensors.get(ROPE_FACTORS);
  if (factors) {
    const count = factors.shape[0]!;
    const readable = factors.type.name === 'f32' && factors.shape.length === 1 && count <= MAX_ROPE_FACTORS;
    const bytes = readable ? await file.rows(factors, 0, count, signal) : undefined;
    const scaling = bytes && llama3Scaling([...new Float32Array(bytes.buffer)], headDim, theta);
    if (scaling) return { rope_type: 'llama3', ...scaling };
    throw new ModelError(
      `${file.name}: the rotary factors in tensor ${quote(ROPE_FACTORS)} (offset ${factors.offset}) are not those of Llama 3.1's scaling; others are not supported.`,
    );
  }
  const kind = meta.string(`${prefix}.rope.scaling.type`);
  // Files of 2023 have the factor alone.
  const factor = meta.number(`${prefix}.rope.scaling.factor`) ?? meta.number(`${prefix}.rope.scale_linear`);
  if (kind === undefined && (factor === undefined || factor === 1)) return undefined;
  if (kind === 'none') return undefined;
  if (kind !== undefined && kind !== 'linear' && kind !== 'yarn') {
    throw new ModelError(`${file.name}: the position scaling ${quote(kind)} is not supported; linear and yarn are.`);
  }
  const extra: JsonObject = {};
  if (kind === 'yarn') {
    const original = meta.number(`${prefix}.rope.scaling.original_context_length`);
    const fast = meta.number(`${prefix}.rope.scaling.yarn_beta_fast`);
    const slow = meta.number(`${prefix}.rope.scaling.yarn_beta_slow`);
    if (original !== undefined) extra.original_max_position_embeddings = original;
    if (fast !== undefined) extra.beta_fast = shortest(fast);
    if (slow !== undefined) extra.beta_slow = shortest(slow);
  }
  return { rope_type: kind ?? 'linear', factor: shortest(factor ?? 1), ...extra };
}
