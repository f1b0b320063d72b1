import { ModelError } from '../errors.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import { encodeText } from '../passes/encode-text.ts';
import { tokenizerNote } from './compare-models.ts';

/**
 * The tokens of a text, which both models have to cut up alike.
 * @throws ModelError where they don't, or where the original has no config or no tokenizer
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
