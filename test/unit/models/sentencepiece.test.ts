import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ModelError } from '../../../src/errors.ts';
import { type SentencePieceVocabulary, sentencePieceTokenizer } from '../../../src/models/sentencepiece.ts';
import { loadTokenizer } from '../../../src/models/tokenizer.ts';

const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`);
const pieces = ['▁', 'a', 'b', 'c', '▁a', 'ab', 'bc', 'abc', '▁abc', '\n', '▁▁', 'é'];
const vocabulary: SentencePieceVocabulary = {
  tokens: ['<unk>', '<s>', '</s>', ...bytes, ...pieces, '<mask>'],
  types: [2, 3, 3, ...bytes.map(() => 6), ...pieces.map(() => 1), 4],
  // "bc" before "ab", so that "abc" is a + bc.
  scores: [0, 0, 0, ...bytes.map(() => 0), -20, -21, -22, -23, -3, -2, -1, -4, -5, -24, -6, -25, 0],
};
const id = (token: string) => vocabulary.tokens.indexOf(token);
const ids = (...tokens: string[]) => tokens.map(id);
const names = { bos_token: '<s>', eos_token: '</s>', add_bos_token: true };

const tokenizer = loadTokenizer(sentencePieceTokenizer(vocabulary), names);
const bare = (text: string) => tokenizer.encode(text, { addSpecial: false });

describe('a tokenizer made of a SentencePiece vocabulary', () => {
  test('merges by score, highest first', () => {
    const { model } = sentencePieceTokenizer(vocabulary) as { model: { merges: [string, string][] } };
    expect(model.merges).toEqual([
      ['b', 'c'],
      ['a', 'b'],
      ['▁', 'a'],
      ['a', 'bc'],
      ['ab', 'c'],
      ['▁', 'abc'],
      ['▁a', 'bc'],
      ['▁', '▁'],
    ]);
    // ▁ a bc -> ▁a comes before abc; then ▁a + bc.
    expect(bare('abc')).toEqual(ids('▁abc'));
    expect(bare('bcab')).toEqual(ids('▁', 'bc', 'ab'));
    expect(bare('abab')).toEqual(ids('▁', 'ab', 'ab'));
  });

  test('without scores, in the order of ids', () => {
    const { scores: _, ...unscored } = vocabulary;
    const { model } = sentencePieceTokenizer(unscored) as { model: { merges: [string, string][] } };
    expect(model.merges.map(([left, right]) => left + right)).toEqual([
      '▁a',
      'ab',
      'bc',
      'abc',
      'abc',
      '▁abc',
      '▁abc',
      '▁▁',
    ]);
  });

  test('a space stands before the text, and only that one is taken away again', () => {
    expect(bare(' a')).toEqual(ids('▁', '▁a'));
    for (const text of ['a', ' a', '  a', 'a ', 'a b', '\na', ' '])
      expect(tokenizer.decode(bare(text)), JSON.stringify(text)).toBe(text);
  });

  test('without that space where the vocabulary does not want it', () => {
    const plain = loadTokenizer(sentencePieceTokenizer({ ...vocabulary, spacePrefix: false }), names);
    expect(plain.encode('a', { addSpecial: false })).toEqual(ids('a'));
    expect(plain.encode(' a', { addSpecial: false })).toEqual(ids('▁a'));
    expect(plain.decode(ids('▁a'))).toBe(' a');
  });

  test('characters without a token fall apart into bytes and come together again', () => {
    expect(bare('é')).toEqual(ids('▁', 'é'));
    expect(bare('😀')).toEqual(ids('▁', '<0xF0>', '<0x9F>', '<0x98>', '<0x80>'));
    expect(tokenizer.decode(bare('a😀b'))).toBe('a😀b');
    const stream = tokenizer.stream();
    expect(bare('a😀b').map((token) => stream.push(token))).toEqual(['a', '', '', '', '😀', 'b']);
    expect(stream.finish()).toBe('');
  });

  test('special tokens are read, written, and left out', () => {
    expect(tokenizer.encode('a')).toEqual(ids('<s>', '▁a'));
    expect(tokenizer.endOfText).toBe(id('</s>'));
    expect(bare('<mask>')).toEqual(ids('<mask>'));
    expect(tokenizer.decode(ids('<s>', '▁a', '</s>'), { skipSpecial: true })).toBe('a');
  });

  test('any text survives the round trip, at once and streamed', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('a', 'b', 'c', ' ', '\n', 'é', '漢', '😀', 'x') }), (text) => {
        const encoded = bare(text);
        expect(tokenizer.decode(encoded)).toBe(text);
        const stream = tokenizer.stream();
        expect(encoded.map((token) => stream.push(token)).join('') + stream.finish()).toBe(text);
      }),
    );
  });

  test('a token may be called __proto__', () => {
    const tokens = ['<unk>', '__proto__', 'constructor'];
    const odd = loadTokenizer(sentencePieceTokenizer({ tokens, types: [2, 4, 4], spacePrefix: false }));
    expect(odd.encode('__proto__constructor')).toEqual([1, 2]);
  });

  const bad: [string, Partial<SentencePieceVocabulary>, string][] = [
    ['nothing', { tokens: [], scores: [], types: [] }, 'has 0 tokens'],
    ['too few scores', { scores: [1] }, `has ${vocabulary.tokens.length} tokens and 1 scores`],
    ['too few types', { types: [1] }, `tokens and 1 types`],
    ['an unknown token that is none', { unknown: 1e6 }, 'has no token 1000000'],
    ['an endless piece', { tokens: ['x'.repeat(1e6)], scores: [0], types: [1] }, 'a token of 1000000 characters (0)'],
    ['a score that is none', { tokens: ['a'], scores: [Number.NaN], types: [1] }, 'as the score of token 0'],
  ];
  test.each(bad)('refuses %s', (_, fields, words) => {
    expect(() => sentencePieceTokenizer({ ...vocabulary, ...fields })).toThrow(ModelError);
    expect(() => sentencePieceTokenizer({ ...vocabulary, ...fields })).toThrow(words);
  });
});
