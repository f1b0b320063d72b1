import { ModelError } from '../../errors.ts';
import type { Json, JsonObject } from '../strict-json.ts';
import { quote } from '../text.ts';
import { f32s, flag, type GgufEntry, i32s, text, texts, u32 } from './entries.ts';
import { MAX_ARRAY_ELEMENTS } from './limits.ts';
import { preTokenizerNames, preTokenizerOf } from './pre-tokenizers.ts';
import { SPECIAL_TOKENS, type TokenizerFiles, TokenType } from './tokenizer-read.ts';

/** What writing a tokenizer needs to know besides its files. */
export interface TokenizerTarget {
  /** The model's config.json: names ids where tokenizer_config.json does not. */
  readonly config: JsonObject;
  /** Rows of the embedding: the list of tokens is filled up to them. */
  readonly vocabulary: number;
  /** For messages. */
  readonly name: string;
}

/** Tokens by id with their types, which a writer may still change. */
interface TokenList {
  readonly tokens: readonly string[];
  readonly types: number[];
}

/** Makes the keys of one kind of tokenizer that the others do not have, such as `tokenizer.ggml.model`. @throws ModelError */
type TokenizerWriter = (tokenizer: JsonObject, list: TokenList, target: TokenizerTarget) => readonly GgufEntry[];

interface TokenizerKind {
  /** Leave out special tokens beyond the embedding, as llama.cpp's own converter does: Gemma 3 shares its list with models that see images. */
  readonly lenient: boolean;
  /** Whether a tokenizer.json is of this kind. */
  readonly matches: (model: JsonObject) => boolean;
  readonly write: TokenizerWriter;
}

/** A new kind is a line here. */
const KINDS: readonly TokenizerKind[] = [
  // A BPE too, but over characters, with single bytes for what it lacks.
  {
    matches: (model) => model.type === 'BPE' && model.byte_fallback === true,
    lenient: true,
    write: writeSentencePiece,
  },
  { matches: (model) => model.type === 'BPE' && model.byte_fallback !== true, lenient: false, write: writeByteLevel },
];

/**
 * The metadata for a tokenizer: tokens with their types, merges, ids of special tokens, chat template.
 * @throws ModelError for tokenizers that GGUF, or this version, has no words for
 */
export function tokenizerEntries(files: TokenizerFiles | undefined, target: TokenizerTarget): GgufEntry[] {
  if (!files) return [text('tokenizer.ggml.model', 'no_vocab')];
  const { tokenizer, config } = files;
  const model = objectOf(tokenizer.model);
  const kind = model && KINDS.find(({ matches }) => matches(model));
  if (!model || !kind) {
    throw new ModelError(
      `${target.name}: its tokenizer is of a kind that is not written to GGUF yet (${quote(String(model?.type))}). Choose a folder.`,
    );
  }
  const list = tokenList(tokenizer, model, target, kind.lenient);
  const { tokens, types } = list;
  const entries = [...kind.write(tokenizer, list, target), texts('tokenizer.ggml.tokens', tokens)];
  entries.push(i32s('tokenizer.ggml.token_type', types));
  const ids = new Map(tokens.map((token, id) => [token, id]));
  for (const [key, name] of SPECIAL_TOKENS) {
    const content = contentOf(config[name]);
    const id = (content === undefined ? undefined : ids.get(content)) ?? target.config[`${name}_id`];
    // Some models have several ends; the first ends a text.
    const first = Array.isArray(id) ? id[0] : id;
    if (typeof first === 'number' && Number.isInteger(first) && first >= 0 && first < tokens.length) {
      entries.push(u32(key, first));
    }
  }
  entries.push(flag('tokenizer.ggml.add_bos_token', startsWithSpecial(tokenizer, config)));
  entries.push(flag('tokenizer.ggml.add_eos_token', config.add_eos_token === true));
  if (typeof config.chat_template === 'string') entries.push(text('tokenizer.chat_template', config.chat_template));
  return entries;
}

function writeByteLevel(tokenizer: JsonObject, _list: TokenList, { name }: TokenizerTarget): GgufEntry[] {
  const pre = preTokenizerOf(tokenizer);
  if (!pre) {
    throw new ModelError(
      `${name}: llama.cpp has no name for the way in which its tokenizer cuts text, or this version does not know it ` +
        `(known: ${preTokenizerNames.join(', ')}), so a GGUF file would read text differently. Choose a folder.`,
    );
  }
  const merges = mergesOf(tokenizer, name);
  return [
    text('tokenizer.ggml.model', 'gpt2'),
    text('tokenizer.ggml.pre', pre.names[0]!),
    texts(
      'tokenizer.ggml.merges',
      merges.map((merge, i) => mergeText(merge, i, name)),
    ),
  ];
}

/**
 * SentencePiece joins the two tokens whose union has the highest score; tokenizer.json has the same as a list of pairs in the
 * order of those scores. A token's score here is minus the place of its first pair, which gives that order back.
 */
function writeSentencePiece(
  tokenizer: JsonObject,
  { tokens, types }: TokenList,
  { name }: TokenizerTarget,
): GgufEntry[] {
  const merges = mergesOf(tokenizer, name);
  const places = new Map<string, number>();
  for (const [i, merge] of merges.entries()) {
    const [left, right] = mergeText(merge, i, name).split(' ') as [string, string];
    if (!places.has(left + right)) places.set(left + right, i);
  }
  const unknown = objectOf(tokenizer.model)?.unk_token;
  for (const [id, token] of tokens.entries()) {
    if (token === unknown) types[id] = TokenType.unknown;
    else if (/^<0x[0-9A-F]{2}>$/.test(token)) types[id] = TokenType.byte;
  }
  return [
    text('tokenizer.ggml.model', 'llama'),
    text('tokenizer.ggml.pre', 'default'),
    // What no pair makes comes after all that one does.
    f32s(
      'tokenizer.ggml.scores',
      tokens.map((token) => -(places.get(token) ?? merges.length)),
    ),
    flag('tokenizer.ggml.add_space_prefix', addsSpace(tokenizer)),
  ];
}

/** Whether a text gets a space in front. */
function addsSpace(tokenizer: JsonObject): boolean {
  const prepends = (value: Json | undefined): boolean => {
    const rules = objectOf(value);
    const inner = rules?.normalizers ?? rules?.pretokenizers;
    if (Array.isArray(inner)) return inner.some(prepends);
    if (rules?.type === 'Prepend') return true;
    if (rules?.type !== 'Metaspace') return false;
    return rules.prepend_scheme === undefined ? rules.add_prefix_space !== false : rules.prepend_scheme !== 'never';
  };
  return prepends(tokenizer.normalizer) || prepends(tokenizer.pre_tokenizer);
}

function mergesOf(tokenizer: JsonObject, name: string): Json[] {
  const merges = objectOf(tokenizer.model)?.merges;
  if (!Array.isArray(merges)) throw new ModelError(`${name}: its tokenizer.json has no list of merges.`);
  return merges;
}

/** Older files write a pair as one text, newer ones as a list. */
function mergeText(merge: Json, index: number, name: string): string {
  const pair = Array.isArray(merge) ? merge.join(' ') : merge;
  if (typeof pair === 'string' && /^[^ ]+ [^ ]+$/.test(pair)) return pair;
  throw new ModelError(
    `${name}: merge ${index} of its tokenizer.json is ${quote(JSON.stringify(merge))}, which is no pair.`,
  );
}

/** All tokens by id, as many as the embedding has rows. */
function tokenList(
  tokenizer: JsonObject,
  model: JsonObject,
  { vocabulary, name }: TokenizerTarget,
  lenient: boolean,
): { tokens: string[]; types: number[] } {
  const fail = (problem: string): never => {
    throw new ModelError(`${name}: ${problem}. Use the tokenizer that belongs to the model.`);
  };
  if (vocabulary > MAX_ARRAY_ELEMENTS) fail(`an embedding of ${vocabulary} rows is too large for a GGUF file`);
  const tokens: (string | undefined)[] = Array.from({ length: vocabulary });
  const types = Array.from({ length: vocabulary }, (): number => TokenType.unused);
  const set = (token: string, id: Json | undefined, type: number) => {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= vocabulary) {
      fail(`token ${quote(token)} has the id ${JSON.stringify(id)}, but the embedding has ${vocabulary} rows`);
    }
    tokens[id as number] = token;
    types[id as number] = type;
  };
  for (const [token, id] of Object.entries(objectOf(model.vocab) ?? {})) set(token, id, TokenType.normal);
  for (const added of Array.isArray(tokenizer.added_tokens) ? tokenizer.added_tokens : []) {
    const entry = objectOf(added);
    if (lenient && entry?.special === true && typeof entry.id === 'number' && entry.id >= vocabulary) continue;
    if (typeof entry?.content !== 'string') fail('an entry of "added_tokens" has no content');
    else set(entry.content, entry.id, entry.special === true ? TokenType.control : TokenType.userDefined);
  }
  return { tokens: tokens.map((token, id) => token ?? `[PAD${id}]`), types };
}

/** Whether a text gets the token that begins one: said outright, or by the template that is put around texts. */
function startsWithSpecial(tokenizer: JsonObject, config: JsonObject): boolean {
  if (typeof config.add_bos_token === 'boolean') return config.add_bos_token;
  const begins = (processor: Json | undefined): boolean => {
    const rules = objectOf(processor);
    if (rules?.type === 'Sequence' && Array.isArray(rules.processors)) return rules.processors.some(begins);
    const first = rules?.type === 'TemplateProcessing' && Array.isArray(rules.single) ? rules.single[0] : undefined;
    const special = objectOf(objectOf(first)?.SpecialToken)?.id;
    return special !== undefined && special === contentOf(config.bos_token);
  };
  return begins(tokenizer.post_processor);
}

/** Special tokens are strings, or objects that hold the string and how it is matched. */
const contentOf = (token: Json | undefined): string | undefined => {
  const content = objectOf(token)?.content ?? token;
  return typeof content === 'string' ? content : undefined;
};

const objectOf = (value: Json | undefined): JsonObject | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
