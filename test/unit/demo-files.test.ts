import { expect, test } from 'vitest';
import { type ChosenFile, droppedInput } from '../../demo/src/engine/model-source.ts';

const file = (path: string, text = path): ChosenFile => ({
  file: new File([text], path.split('/').at(-1)!),
  folder: path.split('/').slice(0, -1).join('/'),
});

test('a file by itself is a model, a config makes a folder of what lies beside it', async () => {
  expect(droppedInput([file('a.gguf'), file('README.md')])).toMatchObject({ name: 'a.gguf', kind: 'gguf' });
  expect(droppedInput([file('a.safetensors')])).toMatchObject({ name: 'a.safetensors', kind: 'safetensors' });
  const folder = droppedInput([file('m/config.json'), file('m/a-1.safetensors'), file('m/a-2.safetensors')]);
  expect(folder).toMatchObject({ name: 'm', kind: 'folder' });
});

test('of folders with files of one name the model takes those that lie beside its weights', async () => {
  const input = droppedInput([file('m/config.json'), file('m/old/config.json'), file('m/model.safetensors')]);
  const files = input.open();
  if (!('has' in files)) throw new Error('no folder');
  const config = await files.open('config.json');
  expect(new TextDecoder().decode(await config.read(0, config.size))).toBe('m/config.json');
  await expect(files.open('tokenizer.json')).rejects.toThrow(/m: the file tokenizer\.json is not among those/);
});

test.each<[string, string[], RegExp]>([
  [
    'two models',
    ['a/config.json', 'a/x.safetensors', 'b/config.json', 'b/x.safetensors'],
    /2 folders \(a, b\): choose one/,
  ],
  ['two files of weights without a config', ['a/x.safetensors', 'b/x.safetensors'], /2 folders/],
  ['two GGUF files', ['a.gguf', 'b.gguf'], /2 GGUF files: choose one/],
  ['no model', ['notes.txt'], /notes\.txt: no model\. Choose/],
])('%s are refused in words', (_, paths, words) => {
  expect(() => droppedInput(paths.map((path) => file(path)))).toThrow(words);
});
