import { expect, test } from 'vitest';
import { FormatError } from '../../src/errors.ts';
import { findTensor } from '../../src/files/safetensors-read.ts';
import { formatByName } from '../../src/formats/registry.ts';
import { families } from '../../src/models/families.ts';
import { suggest } from '../../src/suggest.ts';

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

test('nothing is suggested for a format or a tensor that is nothing alike', () => {
  const refusal = (attempt: () => unknown): string => {
    try {
      attempt();
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  };
  const format = (name: string) => refusal(() => formatByName(name));
  for (const name of ['zzzz', 'gguf', 'awq', '', 'x']) {
    expect(() => formatByName(name)).toThrow(FormatError);
    expect(format(name)).not.toContain('Did you mean');
    expect(format(name)).toContain('Known: f32,');
  }
  expect(format('q4_9')).toContain('Did you mean "q4_0"?');
  expect(format('INT4_G64')).toContain('Did you mean "int4-g64"?');

  const info = { name: '', type: 'F32', shape: [1], offset: 0, byteLength: 4 } as const;
  const names = ['model.norm.weight', 'model.layers.1.mlp.up_proj.weight', 'odd\u001bname'];
  const tensors = new Map(names.map((name) => [name, { ...info, name }]));
  const tensor = (name: string) => refusal(() => findTensor('file', tensors, name));
  expect(tensor('zzzz')).toBe('file: there is no tensor "zzzz".');
  expect(tensor('model.layers.2.mlp.up_proj.weight')).not.toContain('Did you mean');
  expect(tensor('model.norms.weight')).toContain('Did you mean "model.norm.weight"?');
  expect(tensor('oddname')).toContain('Did you mean "odd\\u001bname"?');
  expect(refusal(() => findTensor('file', new Map(), 'x'))).toContain('It has none at all.');
});
