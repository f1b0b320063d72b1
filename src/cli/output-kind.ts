import { ArgumentError } from '../errors.ts';
import type { OutputKind } from '../passes/compress-options.ts';

/** Endings of files of models that are not written: a folder of such a name is nobody's wish. */
const FOREIGN_ENDING = /\.(ggml|ggjt|bin|pt|pth|ckpt|onnx|h5|keras|tflite|npy|npz|pkl|safetensor|json|zip|tar|t?gz)$/i;

/** What the ending of a path says. @throws ArgumentError for an empty one, or the ending of a file that is not written */
export function outputKind(path: string): OutputKind {
  const kinds = 'a folder, or a file that ends in .gguf or .safetensors';
  if (path === '') throw new ArgumentError(`The output (-o) is empty. Name ${kinds}.`);
  const ending = /\.(gguf|safetensors)$/i.exec(path)?.[1];
  if (ending !== undefined) return ending.toLowerCase() as OutputKind;
  const foreign = FOREIGN_ENDING.exec(path)?.[0];
  if (foreign !== undefined) {
    throw new ArgumentError(`${path}: files that end in ${foreign} are not written. Name ${kinds}.`);
  }
  return 'folder';
}
