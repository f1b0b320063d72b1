import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { runCompress } from '../../../src/cli/compress.ts';
import { runModel } from '../../../src/cli/run.ts';
import { ArgumentError, ModelError } from '../../../src/errors.ts';
import { openTestGpu } from '../open-test-gpu.ts';

const SAMPLE = fileURLToPath(new URL('../../../models/union-7m', import.meta.url));
const running = { signal: new AbortController().signal };
const asked = { prompt: 'My fellow citizens', maxTokens: 5, temperature: 0, topK: 0, topP: 1, seed: 0 };
const TEMPLATE = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}assistant:";

let folder: string;
let model: string;
let printed: string;
let said: string;
beforeAll(async () => {
  // Keeps Dawn's entry object reachable for the commands, which open their own device.
  (await openTestGpu()).close();
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'compressa-chat-'));
  model = join(folder, 'model');
  await cp(SAMPLE, model, { recursive: true });
  printed = '';
  said = '';
  vi.spyOn(console, 'error').mockImplementation((text) => {
    said += `${text}\n`;
  });
  vi.spyOn(process.stdout, 'write').mockImplementation((text, ...rest) => {
    printed += text;
    for (const callback of rest) if (typeof callback === 'function') callback();
    return true;
  });
});
afterEach(async () => {
  vi.restoreAllMocks();
  await rm(folder, { recursive: true, force: true });
});

test('run --chat answers by the template, which a compressed model keeps', async () => {
  await writeFile(join(model, 'chat_template.jinja'), TEMPLATE);
  const text = 'system: Be brief.\nuser: My fellow citizens\nassistant:';
  await runModel(model, { ...asked, prompt: text, json: true }, running);
  const plain = JSON.parse(printed);
  expect(said).toContain('The model has a chat template: with --chat');

  printed = '';
  said = '';
  await runModel(model, { ...asked, chat: true, system: 'Be brief.', json: true }, running);
  const { messages, promptTokens, tokens, text: answer } = JSON.parse(printed);
  expect(messages).toEqual([
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'My fellow citizens' },
  ]);
  expect({ promptTokens, tokens, answer }).toEqual({
    promptTokens: plain.promptTokens,
    tokens: plain.tokens,
    answer: plain.text,
  });
  expect(said).toBe('');

  const out = join(folder, 'out');
  await runCompress(model, { out, format: 'q8_0', json: true }, running);
  printed = '';
  await runModel(out, { ...asked, chat: true, system: 'Be brief.', json: true }, running);
  expect(JSON.parse(printed).promptTokens).toEqual(plain.promptTokens);
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
