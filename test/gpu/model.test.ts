import { afterAll, beforeAll, expect, test } from 'vitest';
import { ArgumentError, CancelledError, FileError, ModelError } from '../../src/errors.ts';
import { type ModelFiles, memoryFolder } from '../../src/files/model-files.ts';
import { nodeFolder } from '../../src/files/node-files.ts';
import { memoryOutput } from '../../src/files/sink.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { generate } from '../../src/graph/generate.ts';
import { chatTokensOf, loadModel, type Model, openModel, promptTokensOf, readModel } from '../../src/model.ts';
import { compress } from '../../src/passes/compress.ts';
import { openTestGpu } from './open-test-gpu.ts';

const PROMPT = 'My fellow citizens';

let gpu: Gpu;
let files: ModelFiles;
let model: Model;
beforeAll(async () => {
  gpu = await openTestGpu();
  files = await nodeFolder('models/union-7m');
  model = await openModel(files, { gpu, maxPositions: 32 });
});
afterAll(async () => {
  await model.close();
  gpu.close();
});

/** The same model with files left out or replaced. */
const changed = (changes: Record<string, string | undefined>): ModelFiles => ({
  name: 'changed',
  has: async (file) => (file in changes ? changes[file] !== undefined : files.has(file)),
  open: async (file) => (file in changes ? memoryFolder('changed', { [file]: changes[file]! }) : files).open(file),
});

test('pieces, tokens and the reason are those of the tokens underneath', async () => {
  const tokens: number[] = [];
  model.decoder.rewind();
  const promptTokens = promptTokensOf(model, PROMPT);
  for await (const token of generate(model.decoder, promptTokens, { maxTokens: 12 })) tokens.push(token);

  const pieces: string[] = [];
  for await (const piece of model.generate(PROMPT, { maxTokens: 12 })) pieces.push(piece);
  expect(pieces.length).toBeGreaterThanOrEqual(12);
  const text = model.tokenizer!.decode(tokens, { skipSpecial: true });
  expect(pieces.join('')).toBe(text);
  // Each text starts afresh.
  expect(await model.complete(PROMPT, { maxTokens: 12 })).toEqual({ text, tokens, promptTokens, reason: 'max-tokens' });
});

test('without a limit a text ends where the model or the caches say', async () => {
  const { tokens, promptTokens, reason } = await model.complete(PROMPT, { stopTokens: [] });
  expect(reason).toBe('cache-full');
  expect(promptTokens.length + tokens.length).toBe(32 + 1);
  expect((await model.complete(PROMPT, { stopTokens: [tokens[2]!] })).reason).toBe('stop-token');
  expect(model.stopTokens).toEqual(new Set([0]));
});

test('a conversation is answered from what the chat template makes of it, special tokens and all', async () => {
  const template =
    '{% for m in messages %}{{ bos_token }}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}';
  const configs = { bos_token: '<|endoftext|>', eos_token: '<|endoftext|>', chat_template: template };
  const chatty = await openModel(changed({ 'tokenizer_config.json': JSON.stringify(configs) }), {
    gpu,
    maxPositions: 64,
  });
  const messages = [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: PROMPT },
  ];
  const pieces: string[] = [];
  for await (const piece of chatty.chat(messages, { maxTokens: 5 })) pieces.push(piece);
  const encode = (text: string) => chatty.tokenizer!.encode(text);
  const promptTokens = [0, ...encode('system: Be brief.\n'), 0, ...encode(`user: ${PROMPT}\nassistant:`)];
  expect(await chatTokensOf(chatty, messages)).toEqual(promptTokens);
  const same = await chatty.complete(`<|endoftext|>system: Be brief.\n<|endoftext|>user: ${PROMPT}\nassistant:`, {
    maxTokens: 5,
  });
  expect(same.promptTokens).toEqual(promptTokens);
  expect(pieces.join('')).toBe(same.text);
  await chatty.close();
});

test('a file of its own overrides the template; one that is broken only matters to conversations', async () => {
  const messages = [{ role: 'user', content: PROMPT }];
  const config = JSON.stringify({ chat_template: 'from the config' });
  const read = async (jinja: string | undefined) => {
    const source = await readModel(changed({ 'tokenizer_config.json': config, 'chat_template.jinja': jinja }));
    await source.checkpoint.close();
    return source;
  };
  const own = await read('from the file: {{ messages[0].content }}');
  expect(await chatTokensOf(own, messages)).toEqual(promptTokensOf(own, `from the file: ${PROMPT}`));
  const config2 = await read(undefined);
  expect(await chatTokensOf(config2, messages)).toEqual(promptTokensOf(config2, 'from the config'));
  const broken = await read('{% for %}');
  expect(promptTokensOf(broken, PROMPT).length).toBeGreaterThan(0);
  await expect(chatTokensOf(broken, messages)).rejects.toThrow(
    'changed/chat_template.jinja: the chat template is no Jinja',
  );
  await expect(chatTokensOf(model, messages)).rejects.toThrow('models/union-7m: there is no chat template');
  await expect(model.chat(messages).next()).rejects.toThrow(ModelError);
});

test('an empty prompt starts a text', async () => {
  expect((await model.complete('', { maxTokens: 1 })).promptTokens).toEqual([0]);
});

test('one text at a time; one that is left early or cancelled makes room for the next', async () => {
  const first = model.generate(PROMPT, { maxTokens: 4 });
  await first.next();
  await expect(model.complete(PROMPT, { maxTokens: 1 })).rejects.toThrow(ArgumentError);
  await first.return(undefined as never);
  const aborted = { maxTokens: 4, signal: AbortSignal.abort() };
  await expect(model.complete(PROMPT, aborted)).rejects.toThrow(new CancelledError('Generating text'));
  expect((await model.complete(PROMPT, { maxTokens: 4 })).tokens).toHaveLength(4);
});

test('close frees the memory, also amid a text', async () => {
  const before = gpu.memory.bytesInUse;
  const second = await openModel(files, { gpu, maxPositions: 32 });
  expect(gpu.memory.bytesInUse).toBeGreaterThan(before);
  const run = second.generate(PROMPT);
  await run.next();
  const pending = run.next();
  await Promise.all([second.close(), expect(pending).rejects.toThrow(/closed/)]);
  expect(gpu.memory.bytesInUse).toBe(before);
  await second.close();
  await expect(second.complete(PROMPT)).rejects.toThrow(/the model is closed/);

  const left = await openModel(files, { gpu, maxPositions: 32 });
  const suspended = left.generate(PROMPT);
  await suspended.next();
  await left.close();
  expect(gpu.memory.bytesInUse).toBe(before);
  await expect(suspended.next()).rejects.toThrow(/the model is closed/);
});

test('a compressed model opens from memory', async () => {
  const output = memoryOutput();
  await compress(files, output, { gpu, format: 'q4_0' });
  const compressed = await openModel(memoryFolder('q4', Object.fromEntries(output.files)), { gpu, maxPositions: 32 });
  expect((await compressed.complete(PROMPT, { maxTokens: 4 })).tokens).toHaveLength(4);
  await compressed.close();
});

test('a tokenizer is needed for texts only', async () => {
  const bare = await openModel(changed({ 'tokenizer.json': undefined }), { gpu, maxPositions: 32 });
  expect([...bare.stopTokens]).toEqual([0]);
  await expect(bare.complete(PROMPT)).rejects.toThrow(
    new ModelError('changed: there is no tokenizer.json. Put the one that belongs to the model into the folder.'),
  );
  await bare.decoder.forward([1]);
  await bare.close();
});

test('every file may name ends of the text', async () => {
  const generation = JSON.stringify({ eos_token_id: [7, 9] });
  const { checkpoint, stopTokens } = await readModel(changed({ 'generation_config.json': generation }));
  await checkpoint.close();
  expect(stopTokens).toEqual(new Set([0, 7, 9]));
});

test('whatever fails leaves no memory behind', async () => {
  const before = gpu.memory.bytesInUse;
  await expect(readModel(changed({ 'config.json': undefined }))).rejects.toThrow(ModelError);
  await expect(readModel(changed({ 'tokenizer.json': '{' }))).rejects.toThrow(FileError);
  await expect(openModel(files, { gpu, signal: AbortSignal.abort() })).rejects.toThrow(CancelledError);
  const source = await readModel(files);
  const cancelled = { gpu, signal: AbortSignal.abort() };
  await expect(loadModel(source, cancelled)).rejects.toThrow(new CancelledError('Loading the model'));
  await expect(openModel(files, { gpu, maxPositions: 2 ** 40 })).rejects.toThrow();
  expect(gpu.memory.bytesInUse).toBe(before);
});
