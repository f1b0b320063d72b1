import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { runCompress } from '../../../src/cli/compress.ts';
import { runModel } from '../../../src/cli/run.ts';
import { ArgumentError, ModelError } from '../../../src/errors.ts';
import { openCliBench, running, SAMPLE } from '../cli-bench.ts';

const asked = { prompt: 'My fellow citizens', maxTokens: 5, temperature: 0, topK: 0, topP: 1, seed: 0 };
const TEMPLATE = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}assistant:";

const cli = openCliBench();
let model: string;
beforeEach(async () => {
  model = join(cli.folder, 'model');
  await cp(SAMPLE, model, { recursive: true });
});

test('run --chat answers by the template, which a compressed model keeps', async () => {
  await writeFile(join(model, 'chat_template.jinja'), TEMPLATE);
  const text = 'system: Be brief.\nuser: My fellow citizens\nassistant:';
  await runModel(model, { ...asked, prompt: text, json: true }, running);
  const plain = JSON.parse(cli.printed);
  expect(cli.said).toContain('The model has a chat template: with --chat');

  cli.printed = '';
  cli.said = '';
  await runModel(model, { ...asked, chat: true, system: 'Be brief.', json: true }, running);
  const { messages, promptTokens, tokens, text: answer } = JSON.parse(cli.printed);
  expect(messages).toEqual([
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'My fellow citizens' },
  ]);
  expect({ promptTokens, tokens, answer }).toEqual({
    promptTokens: plain.promptTokens,
    tokens: plain.tokens,
    answer: plain.text,
  });
  expect(cli.said).toBe('');

  const out = join(cli.folder, 'out');
  await runCompress(model, { out, format: 'q8_0', json: true }, running);
  cli.printed = '';
  await runModel(out, { ...asked, chat: true, system: 'Be brief.', json: true }, running);
  expect(JSON.parse(cli.printed).promptTokens).toEqual(plain.promptTokens);
});

test('what a conversation lacks is said before the GPU is opened', async () => {
  // An adapter that is not there: opening the GPU would fail, too.
  const adapter = 'no such adapter';
  await expect(runModel(model, { ...asked, adapter, system: 'Be brief.' }, running)).rejects.toThrow(ArgumentError);
  await expect(runModel(model, { ...asked, adapter, chat: true }, running)).rejects.toThrow(
    /there is no chat template/,
  );
  await writeFile(join(model, 'chat_template.jinja'), "{{ raise_exception('No.') }}");
  await expect(runModel(model, { ...asked, adapter, chat: true }, running)).rejects.toThrow(/refuses .*"No\."/);
  await writeFile(join(model, 'chat_template.jinja'), '{% for %}');
  await expect(runModel(model, { ...asked, adapter, chat: true }, running)).rejects.toThrow(ModelError);
});
