import { Tokenizer as Engine } from '@huggingface/tokenizers';
import { ArgumentError, ModelError } from '../errors.ts';
import { StreamDecoder } from './stream-decoder.ts';

// Far above any published vocabulary; the engine makes an array as long as the largest id (CWE-770).
const MAX_ID = 2 ** 24;

/** How a text becomes tokens. */
export interface EncodeOptions {
  /** False for the bare tokens of the text, whatever the configuration adds around them. Default: as configured. */
  readonly addSpecial?: boolean;
}

/** How tokens become a text. */
export interface DecodeOptions {
  /** Leave out special tokens, such as the end of text. Default: they are written out, and `encode` reads them back. */
  readonly skipSpecial?: boolean;
}

/** Text to token ids and back. */
export interface Tokenizer {
  /** Special tokens that are written out in the text become their ids. */
  encode(text: string, options?: EncodeOptions): number[];
  /** Exactly what the tokens say: no spaces are cleaned up. Ids without a token, such as padding rows of an embedding, are left out. */
  decode(ids: readonly number[], options?: DecodeOptions): string;
  /** Decodes token by token, only whole characters. */
  stream(options?: DecodeOptions): StreamDecoder;
  /** The id that ends a text, if the configuration names one. */
  readonly endOfText?: number;
  /** Ids of the special tokens: those that stand for something that no text says. */
  readonly special: ReadonlyMap<string, number>;
  /** One more than the largest id. */
  readonly vocabulary: number;
}

type Json = Record<string, unknown>;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * Builds a tokenizer from the parsed `tokenizer.json` and, where there is one, `tokenizer_config.json` of a Hugging
 * Face folder. Throws `ModelError` if they are malformed or of a kind that is not known.
 */
export function loadTokenizer(tokenizerJson: unknown, tokenizerConfigJson: unknown = {}): Tokenizer {
  if (!isObject(tokenizerJson)) throw malformed('tokenizer.json', 'it is not a JSON object');
  if (!isObject(tokenizerConfigJson)) throw malformed('tokenizer_config.json', 'it is not a JSON object');
  checkIds(tokenizerJson);

  const engine = openEngine(tokenizerJson, tokenizerConfigJson);
  const tokenOf = (key: 'bos_token' | 'eos_token'): number | undefined => {
    const name = contentOf(tokenizerConfigJson[key]);
    return name === undefined ? undefined : engine.token_to_id(name);
  };
  const start = tokenOf('bos_token');
  const endOfText = tokenOf('eos_token');
  let vocabulary = 0;
  for (const id of engine.get_vocab().values()) vocabulary = Math.max(vocabulary, id + 1);

  const { add_bos_token: addStart, add_eos_token: addEnd } = tokenizerConfigJson;
  // Where the configuration does not say it in so many words, tokenizer.json's post-processor decides.
  const explicit = typeof addStart === 'boolean' || typeof addEnd === 'boolean';

  const bare = (text: string, addSpecial: boolean): number[] => {
    const { ids, tokens } = engine.encode(text, { add_special_tokens: addSpecial });
    // The engine's types deny it, but without an unknown token it leaves a hole.
    const hole = (ids as (number | undefined)[]).indexOf(undefined);
    if (hole >= 0) {
      throw new ModelError(`The tokenizer has no token for ${JSON.stringify(tokens[hole])}, nor one for unknown text.`);
    }
    return ids;
  };

  const encode = (text: string, { addSpecial = true }: EncodeOptions = {}): number[] => {
    // The engine cannot take an empty text through some post-processors.
    const ids = text === '' && (explicit || !addSpecial) ? [] : bare(text, addSpecial && !explicit);
    if (!addSpecial) return ids;
    // A text that begins with the token written out has it already.
    if (addStart === true && start !== undefined && ids[0] !== start) ids.unshift(start);
    if (addEnd === true && endOfText !== undefined && ids.at(-1) !== endOfText) ids.push(endOfText);
    return ids;
  };

  const decode = (ids: readonly number[], { skipSpecial = false }: DecodeOptions = {}): string => {
    const known = ids.filter((id) => {
      if (!Number.isSafeInteger(id) || id < 0) throw new ArgumentError(`${id} is not a token id.`);
      return engine.id_to_token(id) !== undefined;
    });
    if (known.length === 0) return '';
    return engine.decode(known, { skip_special_tokens: skipSpecial, clean_up_tokenization_spaces: false });
  };

  return {
    encode,
    decode,
    stream: (options) => new StreamDecoder((ids) => decode(ids, options)),
    ...(endOfText === undefined ? {} : { endOfText }),
    special: specialTokens(tokenizerJson),
    vocabulary,
  };
}

function openEngine(tokenizerJson: Json, config: Json): Engine {
  try {
    // Older files lack what was empty when they were written.
    const empty = { added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };
    return new Engine({ ...empty, ...tokenizerJson }, config);
  } catch (error) {
    throw malformed('tokenizer.json', error instanceof Error ? error.message : String(error));
  }
}

/** `checkIds` has seen to their form. */
function specialTokens({ added_tokens: added }: Json): Map<string, number> {
  const tokens = (added ?? []) as { readonly content: string; readonly id: number; readonly special?: unknown }[];
  return new Map(tokens.filter(({ special }) => special === true).map(({ content, id }) => [content, id]));
}

/** Special tokens are strings, or objects that hold the string and how it is matched. */
function contentOf(token: unknown): string | undefined {
  const content = isObject(token) ? token.content : token;
  return typeof content === 'string' ? content : undefined;
}

function checkIds(tokenizerJson: Json): void {
  const { model, added_tokens: added = [] } = tokenizerJson;
  if (!isObject(model)) throw malformed('tokenizer.json', '"model" is missing or not an object');
  const check = (token: unknown, id: unknown) => {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= MAX_ID) {
      throw malformed('tokenizer.json', `token ${JSON.stringify(token)} has the id ${JSON.stringify(id)}`);
    }
  };
  // Unigram models list [token, score] pairs; there the index is the id.
  const { vocab } = model;
  if (isObject(vocab)) for (const [token, id] of Object.entries(vocab)) check(token, id);
  else if (!Array.isArray(vocab)) throw malformed('tokenizer.json', '"model.vocab" is missing');
  if (!Array.isArray(added)) throw malformed('tokenizer.json', '"added_tokens" is not a list');
  for (const token of added) {
    if (!isObject(token) || typeof token.content !== 'string' || token.content === '') {
      throw malformed('tokenizer.json', 'an entry of "added_tokens" has no content');
    }
    check(token.content, token.id);
  }
}

const malformed = (file: string, problem: string): ModelError =>
  new ModelError(`${file}: ${problem}. Download the model's tokenizer files again, as its publisher wrote them.`);
