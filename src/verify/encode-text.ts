import { ModelError } from '../errors.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import { parseJsonObject } from '../files/strict-json.ts';
import { loadTokenizer } from '../models/tokenizer.ts';
import { tokenizerNote } from './compare-models.ts';

/**
 * The tokens of a text, which both models have to cut up alike.
 * @throws ModelError where they don't, or where the original is no model folder or has no tokenizer
 */
export async function encodeForBoth(
  original: Checkpoint,
  compressed: Checkpoint | undefined,
  text: string,
): Promise<number[]> {
  const tokens = await encodeText(original, text);
  if (!compressed?.config || !(await tokenizerNote(original, compressed))) return tokens;
  const others = await encodeText(compressed, text);
  const at = tokens.findIndex((token, i) => token !== others[i]);
  if (at < 0 && tokens.length === others.length) return tokens;
  throw new ModelError(
    `The tokenizers of ${original.name} and ${compressed.name} cut the text up differently, from token ${at < 0 ? tokens.length : at} on, so their scores can't be compared. Give both the same tokenizer.json.`,
  );
}

/**
 * The tokens of a text by the model's own tokenizer, without special ones.
 * @throws ModelError where the checkpoint is no model folder or has no tokenizer
 */
export async function encodeText(model: Checkpoint, text: string): Promise<number[]> {
  if (!model.config) {
    throw new ModelError(
      `${model.name}: scoring a text needs a model folder with config.json and tokenizer.json. Leave the text out to compare sizes and weights only.`,
    );
  }
  const tokenizer = await model.fileBytes('tokenizer.json');
  if (!tokenizer) {
    throw new ModelError(
      `${model.name} has no tokenizer.json, which scoring a text needs. Copy the one of the original model there.`,
    );
  }
  const config = await model.fileBytes('tokenizer_config.json');
  return loadTokenizer(
    parseJsonObject(tokenizer, `${model.name}/tokenizer.json`),
    config ? parseJsonObject(config, `${model.name}/tokenizer_config.json`) : {},
  ).encode(text, { addSpecial: false });
}
