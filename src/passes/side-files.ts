import type { Checkpoint } from '../files/checkpoint.ts';
import type { OutputFolder } from '../files/sink.ts';

/** Files beside the weights that a compressed model keeps. */
const SIDE_FILES = [
  'config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'generation_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
  'chat_template.json',
  'tokenizer.model',
  'vocab.json',
  'vocab.txt',
  'merges.txt',
];

/** Copies config, tokenizer and what else belongs to a model besides its weights. `config` takes the place of its config.json. */
export async function copySideFiles(checkpoint: Checkpoint, folder: OutputFolder, config?: Uint8Array): Promise<void> {
  for (const name of SIDE_FILES) {
    const bytes = name === 'config.json' && config ? config : await checkpoint.fileBytes(name);
    if (bytes) await writeFile(folder, name, bytes);
  }
}

/** Writes a small file whole. */
export async function writeFile(folder: OutputFolder, name: string, bytes: Uint8Array): Promise<void> {
  const sink = await folder.file(name);
  await sink.write(bytes);
  await sink.commit();
}
