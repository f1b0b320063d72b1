import type { Json, JsonObject } from '../strict-json.ts';

/**
 * How a byte-level BPE tokenizer cuts text before it merges: `tokenizer.ggml.pre`. llama.cpp knows each by a name and has the
 * rules built in; tokenizer.json spells them out.
 */
export interface PreTokenizer {
  /** The first is written, all are read. */
  readonly names: readonly string[];
  readonly preTokenizer: JsonObject;
  readonly normalizer: JsonObject | null;
  /** A piece that is a token is taken whole, whatever the merges say. */
  readonly ignoreMerges: boolean;
}

const byteLevel = (useRegex: boolean): JsonObject => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
});
const split = (regex: string): JsonObject => ({
  type: 'Sequence',
  pretokenizers: [{ type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false }, byteLevel(false)],
});
/** The pattern of cl100k and its kin, which differ in how many digits stay together. */
const cl100k = (digits: string): string =>
  `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;

const PRE_TOKENIZERS: readonly PreTokenizer[] = [
  { names: ['gpt-2'], preTokenizer: byteLevel(true), normalizer: null, ignoreMerges: false },
  {
    names: ['llama-bpe', 'llama3', 'llama-v3'],
    preTokenizer: split(cl100k('\\p{N}{1,3}')),
    normalizer: null,
    ignoreMerges: true,
  },
  {
    // SmolLM 3's files say this: cut the same, but merged pair by pair.
    names: ['smaug-bpe'],
    preTokenizer: split(cl100k('\\p{N}{1,3}')),
    normalizer: null,
    ignoreMerges: false,
  },
  { names: ['qwen2'], preTokenizer: split(cl100k('\\p{N}')), normalizer: { type: 'NFC' }, ignoreMerges: false },
  {
    // The others are cut the same way.
    names: ['smollm', 'starcoder', 'refact', 'command-r'],
    preTokenizer: {
      type: 'Sequence',
      pretokenizers: [{ type: 'Digits', individual_digits: true }, byteLevel(true)],
    },
    normalizer: null,
    ignoreMerges: false,
  },
];

/** All names that are known, for messages. */
export const preTokenizerNames: readonly string[] = PRE_TOKENIZERS.flatMap(({ names }) => names);

export const preTokenizerByName = (name: string): PreTokenizer | undefined =>
  PRE_TOKENIZERS.find(({ names }) => names.includes(name));

/** The one that a tokenizer.json spells out; undefined where llama.cpp has no name for it. */
export function preTokenizerOf(tokenizer: JsonObject): PreTokenizer | undefined {
  const rules = rulesOf(tokenizer.pre_tokenizer);
  const { model } = tokenizer;
  const whole = typeof model === 'object' && model !== null && 'ignore_merges' in model && model.ignore_merges === true;
  const alike = PRE_TOKENIZERS.filter(({ preTokenizer }) => rulesOf(preTokenizer) === rules);
  return alike.find(({ ignoreMerges }) => ignoreMerges === whole) ?? alike[0];
}

/** What of a pre-tokenizer decides where text is cut, as text that can be compared. */
function rulesOf(value: Json | undefined): string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return '';
  switch (value.type) {
    case 'Sequence':
      return Array.isArray(value.pretokenizers) ? value.pretokenizers.map(rulesOf).filter(Boolean).join('\n') : '?';
    case 'ByteLevel':
      // The prefix is a space before the text, which changes its first token.
      return `${value.use_regex === false ? '' : 'gpt-2'}${value.add_prefix_space === true ? 'prefix' : ''}`;
    case 'Digits':
      return `digits ${value.individual_digits === true}`;
    case 'Split':
      return JSON.stringify([value.pattern ?? null, value.behavior ?? null, value.invert === true]);
    default:
      return JSON.stringify(value);
  }
}
