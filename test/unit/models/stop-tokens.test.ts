import { expect, test } from 'vitest';
import { stopTokensOf } from '../../../src/models/stop-tokens.ts';
import { loadTokenizer } from '../../../src/models/tokenizer.ts';

const tokenizer = loadTokenizer(
  {
    added_tokens: [
      { id: 5, content: '<|im_end|>', special: true },
      { id: 6, content: '<|eot_id|>', special: true },
      // A text may say this one: it is not special here.
      { id: 7, content: '<|end|>', special: false },
      { id: 8, content: '<|im_start|>', special: true },
      { id: 9, content: '</s>', special: true },
    ],
    model: { type: 'BPE', vocab: { a: 0, '<end_of_turn>': 1 }, merges: [] },
  },
  { eos_token: '</s>' },
);

test('special tokens are known by name', () => {
  expect(tokenizer.special).toEqual(
    new Map([
      ['<|im_end|>', 5],
      ['<|eot_id|>', 6],
      ['<|im_start|>', 8],
      ['</s>', 9],
    ]),
  );
});

test('a text ends at the tokenizer’s end, at what configs name, and at special tokens that end a turn', () => {
  expect(stopTokensOf(tokenizer, [])).toEqual(new Set([9, 5, 6]));
  expect(stopTokensOf(tokenizer, [{ eos_token_id: 2 }, { eos_token_id: [3, 5, 'x'] }, undefined])).toEqual(
    new Set([9, 2, 3, 5, 6]),
  );
  expect(stopTokensOf(undefined, [{ eos_token_id: null }, {}])).toEqual(new Set());
});
