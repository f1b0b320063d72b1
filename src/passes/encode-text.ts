import { ModelError } from '../errors.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import { parseJsonObject } from '../files/strict-json.ts';
import { loadTokenizer } from '../models/tokenizer.ts';

/**
 * The tokens of a text by the model's own tokenizer, without special ones.
 * @param purpose what messages say that the text is for
 * @throws ModelError where the checkpoint has no config, as bare tensors, or no tokenizer
 */
export async function encodeText(model: Checkpoint, text: string, purpose = 'scoring a text'): Promise<number[]> {
  if (!model.config) {
    throw new ModelError(
      `${model.name}: ${purpose} needs a model: a folder with config.json and tokenizer.json, or a .gguf file. Leave the text out, or give the model.`,
    );
  }
  const tokenizer = await model.fileBytes('tokenizer.json');
  if (!tokenizer) {
    throw new ModelError(
      `${model.name} has no tokenizer.json, which ${purpose} needs. Copy the one of the original model there.`,
    );
  }
  const config = await model.fileBytes('tokenizer_config.json');
  return loadTokenizer(
    parseJsonObject(tokenizer, `${model.name}/tokenizer.json`),
    config ? parseJsonObject(config, `${model.name}/tokenizer_config.json`) : {},
  ).encode(text, { addSpecial: false });
}
