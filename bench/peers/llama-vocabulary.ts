// The SentencePiece vocabulary of Llama 1 and 2, as the package llama-tokenizer-js holds it. `npm run peers` installs it.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import type { SentencePieceVocabulary } from 'compressa';

/** Ids 0 to 2 are <unk>, <s> and </s>; then come 256 bytes; then pieces, the likelier first. */
const FIRST_BYTE = 3;
const FIRST_PIECE = 259;
const TYPES = { normal: 1, unknown: 2, control: 3, byte: 6 };

/** The vocabulary, or what to do about its absence. */
export async function llamaVocabulary(): Promise<Required<Omit<SentencePieceVocabulary, 'spacePrefix'>> | string> {
  let entry: string;
  try {
    entry = createRequire(import.meta.url).resolve('llama-tokenizer-js');
  } catch (error) {
    return `The vocabulary of Llama is not installed: npm run peers (${(error as Error).message.split('\n')[0]})`;
  }
  const { default: llama } = (await import(pathToFileURL(entry).href)) as { default: { vocabById: string[] } };
  const tokens = llama.vocabById;
  return {
    tokens,
    // What llama.cpp's own converter writes for it: 0 for what is no piece, then −0, −1, −2 and so on.
    scores: tokens.map((_, id) => (id < FIRST_PIECE ? 0 : FIRST_PIECE - id)),
    types: tokens.map((_, id) => {
      if (id === 0) return TYPES.unknown;
      if (id < FIRST_BYTE) return TYPES.control;
      return id < FIRST_PIECE ? TYPES.byte : TYPES.normal;
    }),
    unknown: 0,
  };
}
