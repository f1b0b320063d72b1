import { type ByteSource, blobSource, FileError, type ModelFiles, memoryFolder } from '../../../src/index.ts';

/** A model that can be opened as often as it is needed: what opens it may close it. */
export interface ModelInput {
  readonly name: string;
  readonly kind: 'folder' | 'gguf' | 'safetensors';
  /** The sample: links can name it. */
  readonly sample: boolean;
  open(): ModelFiles | ByteSource;
  /** Text of the kind that the model is for, to calibrate by and to score on; undefined: nothing is at hand. */
  readonly text?: (use: 'calibration' | 'validation') => Promise<string>;
}

const IGNORED = /^(\.|README|LICENSE)/i;

/**
 * The model in files that a visitor chose: a GGUF file, a safetensors file, or the files of a Hugging Face folder. They are read where they are.
 * @throws FileError where there is none among them
 */
export function droppedInput(files: readonly File[]): ModelInput {
  const wanted = files.filter(({ name }) => !IGNORED.test(name));
  const gguf = wanted.filter(({ name }) => /\.gguf$/i.test(name));
  const weights = wanted.filter(({ name }) => /\.safetensors$/i.test(name));
  const [first] = gguf.length > 0 ? gguf : weights;
  if (!first) {
    const names = files.map(({ name }) => name).slice(0, 4);
    throw new FileError(
      `${names.join(', ') || 'What you dropped'}: no model. Choose a .gguf file, a .safetensors file, or all files of a Hugging Face folder.`,
    );
  }
  if (gguf.length > 1)
    throw new FileError(`${gguf.length} GGUF files: choose one, models in several files are not read.`);
  if (gguf.length === 1) return single(first, 'gguf');
  const hasConfig = wanted.some(({ name }) => name === 'config.json');
  if (weights.length === 1 && !hasConfig) return single(first, 'safetensors');
  const byName = new Map(wanted.map((file) => [file.name, file]));
  const folder = first.webkitRelativePath.split('/').at(-2) ?? first.name.replace(/\.safetensors$/i, '');
  return {
    name: folder,
    kind: 'folder',
    sample: false,
    open: () => ({
      name: folder,
      has: async (name) => byName.has(name),
      open: async (name) => {
        const file = byName.get(name);
        if (!file)
          throw new FileError(`${folder}: the file ${name} is not among those that you chose. Choose it, too.`);
        return blobSource(`${folder}/${name}`, file);
      },
    }),
  };
}

const single = (file: File, kind: 'gguf' | 'safetensors'): ModelInput => ({
  name: file.name,
  kind,
  sample: false,
  open: () => blobSource(file.name, file),
});

/** A model that was written by this page. */
export const writtenInput = (name: string, kind: ModelInput['kind'], files: ReadonlyMap<string, Blob>): ModelInput => ({
  name,
  kind,
  sample: false,
  open: () => {
    if (kind !== 'folder') {
      const [file, blob] = [...files][0]!;
      return blobSource(file, blob);
    }
    return {
      name,
      has: async (file) => files.has(file),
      open: async (file) => {
        const blob = files.get(file);
        if (!blob) return memoryFolder(name, {}).open(file);
        return blobSource(`${name}/${file}`, blob);
      },
    };
  },
});

/** All files that were dropped, those in folders included. */
export async function filesOf(transfer: DataTransfer): Promise<File[]> {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry());
  if (entries.every((entry) => !entry?.isDirectory)) return [...transfer.files];
  const files: File[] = [];
  const visit = async (entry: FileSystemEntry | null, depth: number): Promise<void> => {
    if (!entry || depth > 2) return;
    if (entry.isFile) {
      files.push(await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject)));
      return;
    }
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    for (;;) {
      const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
      if (some.length === 0) return;
      for (const one of some) await visit(one, depth + 1);
    }
  };
  for (const entry of entries) await visit(entry, 0);
  return files;
}
