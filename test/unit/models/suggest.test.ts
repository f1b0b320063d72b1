import { expect, test } from 'vitest';
import { families } from '../../../src/models/families.ts';
import { suggest } from '../../../src/models/suggest.ts';

const architectures = families.flatMap((family) => family.architectures);

test.each([
  ['LlamaForCasualLM', 'LlamaForCausalLM'],
  ['LLaMAForCausalLM', 'LlamaForCausalLM'],
  ['MistralForCausalLm', 'MistralForCausalLM'],
  ['Gema2ForCausalLM', 'Gemma2ForCausalLM'],
])('%s is a misspelling of %s', (name, meant) => {
  expect(suggest(name, architectures)).toBe(` Did you mean "${meant}"?`);
});

test.each([
  'GPTNeoXForCausalLM',
  'OPTForCausalLM',
  'OlmoForCausalLM',
  'PhiForCausalLM',
  'Llama4ForCausalLM',
  'Qwen4ForCausalLM',
  'Qwen2MoeForCausalLM',
  'BertModel',
])('%s is another architecture, not a misspelling', (name) => {
  expect(suggest(name, architectures)).toBe('');
});

test('short words are misspelled by less, and no candidates suggest nothing', () => {
  expect(suggest('ruels', ['version', 'rules'])).toBe(' Did you mean "rules"?');
  expect(suggest('ab', ['cd'])).toBe('');
  expect(suggest('', ['ab'])).toBe('');
  expect(suggest('rules', [])).toBe('');
});
