import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ArgumentError, ModelError } from '../../../src/errors.ts';
import { loadTokenizer } from '../../../src/models/tokenizer.ts';
import { sampleJson, sampleText, sampleTokens } from './sample-model.ts';

const tokenizerJson = sampleJson('tokenizer.json');
const configJson = sampleJson('tokenizer_config.json');
const tokenizer = loadTokenizer(tokenizerJson, configJson);

describe('the sample tokenizer', () => {
  test.each(['validation', 'calibration'])('encodes %s.txt to its published ids and decodes them back', (name) => {
    const text = sampleText(`${name}.txt`);
    const ids = sampleTokens(`${name}.tokens.u16`);
    expect(tokenizer.encode(text)).toEqual(ids);
    expect(tokenizer.decode(ids)).toBe(text);
  });

  test('reads special tokens in the text and adds none', () => {
    expect(tokenizer.endOfText).toBe(0);
    expect(tokenizer.vocabulary).toBe(4096);
    const [comma] = tokenizer.encode(',');
    expect(tokenizer.encode('<|endoftext|>,<|endoftext|>')).toEqual([0, comma, 0]);
    expect(tokenizer.encode('')).toEqual([]);
    expect(tokenizer.decode([0, comma!, 0], { skipSpecial: true })).toBe(',');
    expect(tokenizer.decode([0], { skipSpecial: true })).toBe('');
    expect(tokenizer.decode([])).toBe('');
  });

  test('any text survives the round trip, at once and streamed', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        const ids = tokenizer.encode(text);
        expect(tokenizer.decode(ids)).toBe(text);
        const stream = tokenizer.stream();
        expect(ids.map((id) => stream.push(id)).join('') + stream.finish()).toBe(text);
      }),
    );
  });

  test('leaves out ids without a token and refuses what is no id', () => {
    const [comma] = tokenizer.encode(',');
    expect(tokenizer.decode([5000, comma!])).toBe(',');
    expect(() => tokenizer.decode([-1])).toThrow(ArgumentError);
    expect(() => tokenizer.decode([0.5])).toThrow(ArgumentError);
  });
});

describe('streaming', () => {
  test('a character of several tokens comes out whole, with its last byte', () => {
    const ids = tokenizer.encode('😀');
    expect(ids.length).toBe(4);
    const stream = tokenizer.stream();
    expect([...ids, ...tokenizer.encode(' the')].map((id) => stream.push(id))).toEqual(['', '', '', '😀', ' the']);
  });

  test('an unfinished character comes out at the end as U+FFFD', () => {
    const stream = tokenizer.stream();
    expect(
      tokenizer
        .encode('😀')
        .slice(0, 3)
        .map((id) => stream.push(id)),
    ).toEqual(['', '', '']);
    expect(stream.finish()).toBe('\uFFFD');
    expect(stream.finish()).toBe('');
  });

  test('endless broken bytes neither stall it nor cost ever more, and what follows is right', () => {
    const [, broken] = tokenizer.encode('😀');
    const stream = tokenizer.stream();
    const pieces = Array.from({ length: 1000 }, () => stream.push(broken!));
    const rest = tokenizer.encode('é ok').map((id) => stream.push(id));
    const text = pieces.join('') + rest.join('') + stream.finish();
    expect(text).toBe(`${'\uFFFD'.repeat(1000)}é ok`);
    expect(pieces.slice(0, 100).join('').length).toBeGreaterThan(90);
  });
});

describe('configured special tokens', () => {
  const tiny = {
    added_tokens: [
      { id: 0, content: '<s>', special: true },
      { id: 1, content: '</s>', special: true },
    ],
    model: { type: 'BPE', vocab: { '<s>': 0, '</s>': 1, a: 2, b: 3 }, merges: [], unk_token: null },
  };
  const names = { bos_token: { content: '<s>' }, eos_token: '</s>' };
  const template = {
    type: 'TemplateProcessing',
    single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    pair: [],
  };

  test('are added as tokenizer_config.json says, once', () => {
    const both = loadTokenizer(tiny, { ...names, add_bos_token: true, add_eos_token: true });
    expect(both.encode('ab')).toEqual([0, 2, 3, 1]);
    expect(both.encode('<s>ab')).toEqual([0, 2, 3, 1]);
    expect(both.encode('ab', { addSpecial: false })).toEqual([2, 3]);
    expect(both.encode('')).toEqual([0, 1]);
    expect(both.endOfText).toBe(1);
  });

  test('are added as tokenizer.json says where the other file is silent', () => {
    const withTemplate = { ...tiny, post_processor: template };
    expect(loadTokenizer(withTemplate, names).encode('ab')).toEqual([0, 2, 3]);
    expect(loadTokenizer(withTemplate, names).encode('ab', { addSpecial: false })).toEqual([2, 3]);
    expect(loadTokenizer(withTemplate, { ...names, add_bos_token: false }).encode('ab')).toEqual([2, 3]);
  });

  test('text without a token is refused where the tokenizer has none for unknown text either', () => {
    const words = { ...tiny, model: { type: 'WordPiece', vocab: { a: 2 }, unk_token: '[UNK]' } };
    expect(loadTokenizer(words).encode('a')).toEqual([2]);
    expect(() => loadTokenizer(words).encode('ç')).toThrow(ModelError);
    expect(() => loadTokenizer(words).encode('ç')).toThrow('"[UNK]"');
    expect(loadTokenizer(tiny).endOfText).toBeUndefined();
  });
});

describe('malformed tokenizers', () => {
  const bad: [string, unknown, string][] = [
    ['null', null, 'not a JSON object'],
    ['a list', [], 'not a JSON object'],
    ['no model', {}, '"model"'],
    ['no vocabulary', { model: { type: 'BPE' } }, '"model.vocab"'],
    ['no merges', { model: { type: 'BPE', vocab: { a: 0 } } }, 'tokenizer.json'],
    ['an absurd id', { model: { type: 'BPE', vocab: { a: 4e9 }, merges: [] } }, 'the id 4000000000'],
    ['a negative id', { model: { type: 'BPE', vocab: { a: -1 }, merges: [] } }, 'the id -1'],
    ['added tokens that are none', { ...tokenizerJson, added_tokens: [{ id: 1 }] }, '"added_tokens"'],
    ['an unknown decoder', { ...tokenizerJson, decoder: { type: 'Rot13' } }, 'Rot13'],
  ];
  test.each(bad)('%s', (_, json, words) => {
    expect(() => loadTokenizer(json, {})).toThrow(ModelError);
    expect(() => loadTokenizer(json, {})).toThrow(words);
  });
});
