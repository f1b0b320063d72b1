import { ModelError } from '../errors.ts';

/** A SentencePiece vocabulary as GGUF files hold it (`tokenizer.ggml.model` is "llama"); an index is a token's id. */
export interface SentencePieceVocabulary {
  /** With U+2581 for a space, and "<0x0A>" for bytes. */
  readonly tokens: readonly string[];
  /** The higher, the earlier two tokens become this one. Default: in the order of ids. */
  readonly scores?: ArrayLike<number>;
  /** 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte. Default: all normal. */
  readonly types?: ArrayLike<number>;
  /** Id of the token for what has none. Default: the one whose type says so. */
  readonly unknown?: number;
  /** Whether a text gets a space in front, so that its first word looks as it does elsewhere. Default: true. */
  readonly spacePrefix?: boolean;
}

const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;
const BYTE = 6;
const SPACE = '\u2581';

// Far above any published vocabulary, and above SentencePiece's own limit of 16 characters a piece. A piece is split at every
// place, so its length counts twice (CWE-407).
const MAX_TOKENS = 2 ** 21;
const MAX_PIECE_LENGTH = 256;

/**
 * The `tokenizer.json` that does what SentencePiece does with such a vocabulary: BPE whose merges are all pairs of tokens
 * that make a third, the one with the highest score first; characters without a token fall apart into bytes. `loadTokenizer`
 * takes it. Source: Kudo and Richardson, "SentencePiece", 2018; the merges as in Hugging Face's converter.
 * @throws ModelError for lists that do not fit together
 */
export function sentencePieceTokenizer(vocabulary: SentencePieceVocabulary): Record<string, unknown> {
  check(vocabulary);
  const { tokens, types, spacePrefix = true } = vocabulary;
  const typeOf = (id: number) => types?.[id] ?? 1;
  // Without a prototype, so that a token called __proto__ is a token.
  const vocab: Record<string, number> = Object.create(null);
  const added: object[] = [];
  for (const [id, content] of tokens.entries()) {
    // Of two of a kind, only the first can be written.
    if (Object.hasOwn(vocab, content)) continue;
    vocab[content] = id;
    const special = typeOf(id) === CONTROL || typeOf(id) === UNKNOWN;
    if ((special || typeOf(id) === USER_DEFINED) && content !== '') added.push(addedToken(id, content, special));
  }
  const unknown = vocabulary.unknown ?? tokens.findIndex((_, id) => typeOf(id) === UNKNOWN);
  const first = { type: 'Prepend', prepend: SPACE };
  const strip = { type: 'Strip', content: ' ', start: 1, stop: 0 };
  return {
    version: '1.0',
    added_tokens: added,
    normalizer: {
      type: 'Sequence',
      normalizers: [...(spacePrefix ? [first] : []), { type: 'Replace', pattern: { String: ' ' }, content: SPACE }],
    },
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: SPACE }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(spacePrefix ? [strip] : []),
      ],
    },
    model: {
      type: 'BPE',
      unk_token: tokens[unknown] ?? null,
      fuse_unk: true,
      byte_fallback: true,
      vocab,
      merges: mergesOf(vocabulary, vocab),
    },
  };
}

const addedToken = (id: number, content: string, special: boolean) => ({
  id,
  content,
  special,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
});

/** Every pair of tokens that makes a third, in the order in which SentencePiece would join them. */
function mergesOf(
  { tokens, scores, types }: SentencePieceVocabulary,
  vocab: Record<string, number>,
): [string, string][] {
  const isPiece = (id: number | undefined): id is number => {
    const type = id === undefined ? CONTROL : (types?.[id] ?? 1);
    return type !== CONTROL && type !== UNKNOWN && type !== BYTE;
  };
  const scoreOf = (id: number) => scores?.[id] ?? -id;
  const made = tokens.flatMap((token, id) => {
    if (vocab[token] !== id || !isPiece(id)) return [];
    const pairs: { left: number; right: number; id: number }[] = [];
    for (let at = 1; at < token.length; at++) {
      const left = vocab[token.slice(0, at)];
      const right = vocab[token.slice(at)];
      if (isPiece(left) && isPiece(right)) pairs.push({ left, right, id });
    }
    return pairs;
  });
  made.sort((a, b) => scoreOf(b.id) - scoreOf(a.id) || a.id - b.id || a.left - b.left || a.right - b.right);
  return made.map(({ left, right }) => [tokens[left]!, tokens[right]!]);
}

function check({ tokens, scores, types, unknown }: SentencePieceVocabulary): void {
  const fail = (problem: string): never => {
    throw new ModelError(`The SentencePiece vocabulary ${problem}. Get the file again, as its publisher wrote it.`);
  };
  if (tokens.length === 0 || tokens.length > MAX_TOKENS) fail(`has ${tokens.length} tokens`);
  for (const [name, list] of Object.entries({ scores, types })) {
    if (list && list.length !== tokens.length) fail(`has ${tokens.length} tokens and ${list.length} ${name}`);
  }
  if (unknown !== undefined && !(unknown in tokens)) fail(`has no token ${unknown}, which is to be the unknown one`);
  for (const [id, token] of tokens.entries()) {
    const normal = (types?.[id] ?? 1) === 1;
    if (normal && token.length > MAX_PIECE_LENGTH) fail(`has a token of ${token.length} characters (${id})`);
    if (Number.isNaN(scores?.[id])) fail(`has no number as the score of token ${id}`);
  }
}
