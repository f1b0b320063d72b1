import { ModelError } from '../../errors.ts';
import { sentencePieceTokenizer } from '../../models/sentencepiece.ts';
import type { JsonObject } from '../strict-json.ts';
import { quote } from '../text.ts';
import { Metadata } from './metadata.ts';
import { preTokenizerByName, preTokenizerNames } from './pre-tokenizers.ts';
import type { GgufFile } from './read.ts';

/** The two files in which Hugging Face keeps a tokenizer, parsed. */
export interface TokenizerFiles {
  /** tokenizer.json */
  readonly tokenizer: JsonObject;
  /** tokenizer_config.json */
  readonly config: JsonObject;
}

/** What a reader gets besides the file: what all kinds of tokenizers have in common, checked. */
export interface TokenizerContext {
  readonly file: GgufFile;
  readonly metadata: Metadata;
  /** By id. */
  readonly tokens: readonly string[];
  /** By id: see `TokenType`; all `normal` where the file does not say. */
  readonly types: readonly number[];
  readonly signal?: AbortSignal;
}

/** Makes tokenizer.json of the metadata of one kind of tokenizer. @throws ModelError */
export type TokenizerReader = (context: TokenizerContext) => Promise<JsonObject>;

/** `tokenizer.ggml.token_type` */
export const TokenType = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** By `tokenizer.ggml.model`. A new kind is a line here. */
const READERS: Readonly<Record<string, TokenizerReader>> = { gpt2: readByteLevel, llama: readSentencePiece };

/**
 * The tokenizer of a GGUF file as Hugging Face would store it. `problem` says why there is none.
 * @throws ModelError for a tokenizer of a known kind whose parts do not fit together
 */
export async function readTokenizer(
  file: GgufFile,
  signal?: AbortSignal,
): Promise<TokenizerFiles | { readonly problem: string }> {
  const metadata = new Metadata(file);
  const kind = metadata.string('tokenizer.ggml.model');
  if (kind === undefined || kind === 'no_vocab' || kind === 'none') return { problem: 'it has no tokenizer' };
  const read = Object.hasOwn(READERS, kind) ? READERS[kind] : undefined;
  if (!read) return { problem: `tokenizers of the kind ${quote(kind)} are not read` };
  const pre = metadata.string('tokenizer.ggml.pre');
  if (kind === 'gpt2' && preTokenizerByName(pre ?? '') === undefined) {
    const known = preTokenizerNames.join(', ');
    return {
      problem: `its text is cut by the rules ${quote(pre ?? 'default')}, which are not known; known are ${known}`,
    };
  }
  const tokens = (await file.strings('tokenizer.ggml.tokens', signal)) ?? [];
  if (tokens.length === 0) throw new ModelError(`${file.name}: tokenizer.ggml.tokens is missing or empty.`);
  const types = (await file.numbers('tokenizer.ggml.token_type', signal)) ?? tokens.map((): number => TokenType.normal);
  if (types.length !== tokens.length) {
    throw new ModelError(
      `${file.name}: there are ${tokens.length} tokens but ${types.length} tokenizer.ggml.token_type. Convert it again.`,
    );
  }
  const tokenizer = await read({ file, metadata, tokens, types, ...(signal && { signal }) });
  return { tokenizer, config: configOf({ file, metadata, tokens, types }) };
}

/** Why a file gives no tokenizer; undefined where it does. */
export async function tokenizerProblem(file: GgufFile): Promise<string | undefined> {
  const read = await readTokenizer(file);
  return 'problem' in read ? read.problem : undefined;
}

/** The vocabulary as tokenizer.json has it. @throws ModelError for a token that is there twice */
export function vocabularyOf({ file, tokens, types }: TokenizerContext): JsonObject {
  const ids = new Map<string, number>();
  for (const [id, token] of tokens.entries()) {
    // Fills the list up to the rows of the embedding.
    if (types[id] === TokenType.unused) continue;
    const other = ids.get(token);
    if (other !== undefined) {
      throw new ModelError(`${file.name}: tokens ${other} and ${id} are both ${quote(token)}. Convert it again.`);
    }
    ids.set(token, id);
  }
  // Own properties, whatever a token is called.
  return Object.fromEntries(ids);
}

/** Tokens that are found in a text before anything else is. */
export const addedTokens = ({ tokens, types }: TokenizerContext): JsonObject[] =>
  tokens.flatMap((content, id) => {
    const type = types[id];
    if (content === '' || (type !== TokenType.control && type !== TokenType.userDefined)) return [];
    const special = type === TokenType.control;
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }];
  });

async function readByteLevel(context: TokenizerContext): Promise<JsonObject> {
  const { file, metadata, signal } = context;
  const pre = preTokenizerByName(metadata.string('tokenizer.ggml.pre') ?? '')!;
  const merges = await file.strings('tokenizer.ggml.merges', signal);
  if (!merges) throw new ModelError(`${file.name}: tokenizer.ggml.merges is missing. Convert it again.`);
  const odd = merges.findIndex((merge) => !/^[^ ]+ [^ ]+$/.test(merge));
  if (odd >= 0) {
    throw new ModelError(`${file.name}: merge ${odd} is ${quote(merges[odd]!)}, which is no pair. Convert it again.`);
  }
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: addedTokens(context),
    normalizer: pre.normalizer,
    pre_tokenizer: pre.preTokenizer,
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: pre.ignoreMerges,
      vocab: vocabularyOf(context),
      merges,
    },
  };
}

async function readSentencePiece({ file, metadata, tokens, types, signal }: TokenizerContext): Promise<JsonObject> {
  const scores = await file.numbers('tokenizer.ggml.scores', signal);
  const unknown = metadata.number('tokenizer.ggml.unknown_token_id');
  const tokenizer = sentencePieceTokenizer({
    tokens,
    types,
    ...(scores && { scores }),
    ...(unknown !== undefined && { unknown }),
    spacePrefix: metadata.boolean('tokenizer.ggml.add_space_prefix') ?? true,
  });
  return tokenizer as JsonObject;
}

/** Keys that name a token's id, and what tokenizer_config.json calls them. */
export const SPECIAL_TOKENS = [
  ['tokenizer.ggml.bos_token_id', 'bos_token'],
  ['tokenizer.ggml.eos_token_id', 'eos_token'],
  ['tokenizer.ggml.unknown_token_id', 'unk_token'],
  ['tokenizer.ggml.padding_token_id', 'pad_token'],
] as const;

function configOf({ file, metadata, tokens }: TokenizerContext): JsonObject {
  const config: JsonObject = { tokenizer_class: 'PreTrainedTokenizerFast' };
  for (const [key, name] of SPECIAL_TOKENS) {
    const id = metadata.number(key);
    if (id === undefined) continue;
    const token = tokens[id];
    if (token === undefined) {
      throw new ModelError(`${file.name}: ${key} is ${id}, but there are ${tokens.length} tokens. Convert it again.`);
    }
    config[name] = token;
  }
  // llama.cpp's defaults where a file does not say it.
  const llama3 = preTokenizerByName(metadata.string('tokenizer.ggml.pre') ?? '')?.names[0] === 'llama-bpe';
  const sentencePiece = metadata.string('tokenizer.ggml.model') === 'llama';
  config.add_bos_token = metadata.boolean('tokenizer.ggml.add_bos_token') ?? (llama3 || sentencePiece);
  config.add_eos_token = metadata.boolean('tokenizer.ggml.add_eos_token') ?? false;
  const template = metadata.string('tokenizer.chat_template');
  if (template !== undefined) config.chat_template = template;
  return config;
}
