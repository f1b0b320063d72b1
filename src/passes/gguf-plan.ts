import { FormatError, ModelError } from '../errors.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import { architectureOf, type GgufArchitecture, ggufArchitectures } from '../files/gguf/architectures.ts';
import { ggufFormats } from '../files/gguf/checkpoint.ts';
import { type GgufConfig, ggufConfigOf } from '../files/gguf/config-write.ts';
import { type GgmlType, ggmlTypeByName } from '../files/gguf/ggml-types.ts';
import { type RowOrder, toInterleaved } from '../files/gguf/row-order.ts';
import { ggufName, isNorm, rotatedRows } from '../files/gguf/tensor-names.ts';
import type { GgufTensorSpec } from '../files/gguf/write.ts';
import { quote } from '../files/text.ts';
import type { Format } from '../formats/format.ts';
import { formatByName } from '../formats/registry.ts';
import type { Recipe, Role } from './recipe.ts';
import type { AnyWeight } from './stored-weight.ts';

/** A model as a GGUF file will describe it. */
export interface GgufTarget {
  readonly architecture: GgufArchitecture;
  readonly config: GgufConfig;
}

/** Where and how a GGUF file holds a tensor. */
export interface GgufPlacement {
  readonly kind: 'placed';
  readonly spec: GgufTensorSpec;
  /** The order of its rows, where it differs. */
  readonly order?: RowOrder;
  /** Its values become f32. */
  readonly toF32: boolean;
}

/** @throws ModelError for a model that GGUF, or this version, has no words for */
export function ggufTarget({ name, config, tree }: Checkpoint): GgufTarget {
  const architecture = config && architectureOf(config);
  if (!config || !architecture) {
    const known = ggufArchitectures.map(({ huggingFace }) => huggingFace).join(', ');
    throw new ModelError(
      `${name}: models of this kind are not written to GGUF; known are ${known}. Choose a folder or a .safetensors file.`,
    );
  }
  if (tree?.graph?.hadamard) {
    throw new ModelError(
      `${name}: GGUF has no words for Hadamard transforms of inner activations. Rotate without them (no "inner"), or choose a folder.`,
    );
  }
  return { architecture, config: ggufConfigOf(config, architecture, `${name}/config.json`) };
}

/** Refuses a recipe with formats that no GGUF file holds. @throws FormatError that names those that one does */
export function checkGgufFormats(recipe: Recipe): void {
  for (const { format } of recipe.rules) {
    if (format === 'keep' || ggufFormats.has(formatByName(format))) continue;
    const known = [...ggufFormats.keys()].map(({ name }) => name).join(', ');
    throw new FormatError(
      `A GGUF file can't hold ${format}; it can hold ${known}. Choose one of them, or a folder or .safetensors file.`,
    );
  }
}

/**
 * Where a tensor goes, or why it is left out. Vectors become f32, which is what llama.cpp computes with.
 * @throws ModelError for a tensor without a place, FormatError for a type that GGUF lacks
 */
export function placeInGguf(
  name: string,
  weight: AnyWeight,
  role: Role,
  target: Format | undefined,
  { architecture, config }: GgufTarget,
): GgufPlacement | { readonly kind: 'left-out'; readonly notice: string } {
  if (name.endsWith('.rotary_emb.inv_freq')) {
    return { kind: 'left-out', notice: `${quote(name)} is left out: the config says it.` };
  }
  if (config.tiedHead && role !== 'head' && name === 'lm_head.weight') {
    return { kind: 'left-out', notice: `${quote(name)} is left out: the head is the embedding.` };
  }
  const gguf = ggufName(name, architecture.postNorms);
  if (gguf === undefined) {
    throw new ModelError(
      `Tensor ${quote(name)} has no place in a GGUF file of a ${architecture.name} model. Choose a folder or a .safetensors file.`,
    );
  }
  const toF32 = weight.kind === 'dense' && weight.shape.length < 2 && weight.info.type !== 'F32';
  const type = typeOf(name, weight, target, toF32);
  const order = architecture.interleaved && rotatedRows(name) ? { order: toInterleaved(config.headDim) } : {};
  const addend = weight.kind === 'dense' && isNorm(name) ? architecture.normOffset : 0;
  const spec = { name: gguf, type, shape: weight.shape, ...(addend !== 0 && { addend }) };
  return { kind: 'placed', spec, toF32, ...order };
}

function typeOf(name: string, weight: AnyWeight, target: Format | undefined, toF32: boolean): GgmlType {
  const wanted =
    weight.kind === 'quantized'
      ? weight.format.name
      : weight.kind === 'opaque'
        ? weight.type
        : toF32
          ? 'f32'
          : (target?.name ?? weight.info.type.toLowerCase());
  const format = weight.kind === 'quantized' ? weight.format : target;
  const type = format && !ggufFormats.has(format) ? undefined : ggmlTypeByName(wanted);
  if (type) return type;
  throw new FormatError(
    `${quote(name)} is ${wanted}, which a GGUF file can't hold. Choose a folder or a .safetensors file.`,
  );
}
