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

/** A file that a visitor chose, and the folder that it was in; empty: by itself. */
export interface ChosenFile {
  readonly file: File;
  readonly folder: string;
}

/** Files of a file picker. */
export const pickedFiles = (files: Iterable<File>): ChosenFile[] =>
  [...files].map((file) => ({ file, folder: file.webkitRelativePath.split('/').slice(0, -1).join('/') }));

/**
 * The model in files that a visitor chose: a GGUF file, a safetensors file, or the files of a Hugging Face folder. They are read where they are.
 * @throws FileError where there is none among them, or more than one
 */
export function droppedInput(files: readonly ChosenFile[]): ModelInput {
  const wanted = files.filter(({ file }) => !IGNORED.test(file.name));
  const gguf = wanted.filter(({ file }) => /\.gguf$/i.test(file.name));
  const weights = wanted.filter(({ file }) => /\.safetensors$/i.test(file.name));
  const [first] = gguf.length > 0 ? gguf : weights;
  if (!first) {
    const names = files.map(({ file }) => file.name).slice(0, 4);
    throw new FileError(
      `${names.join(', ') || 'What you dropped'}: no model. Choose a .gguf file, a .safetensors file, or all files of a Hugging Face folder.`,
    );
  }
  if (gguf.length > 1)
    throw new FileError(`${gguf.length} GGUF files: choose one, models in several files are not read.`);
  if (gguf.length === 1) return single(first.file, 'gguf');
  // Weights beside a config are a model; of several, files of one name would take each other's place.
  const configs = new Set(wanted.filter(({ file }) => file.name === 'config.json').map(({ folder }) => folder));
  const all = [...new Set(weights.map(({ folder }) => folder))];
  const models = all.filter((folder) => configs.has(folder));
  const folders = models.length > 0 ? models : all;
  if (folders.length > 1) {
    const names = folders.map((folder) => folder || 'files by themselves');
    throw new FileError(`Weights in ${folders.length} folders (${names.slice(0, 4).join(', ')}): choose one model.`);
  }
  const own = wanted.filter(({ folder }) => folder === folders[0]).map(({ file }) => file);
  const [weight, ...more] = own.filter(({ name }) => /\.safetensors$/i.test(name)) as [File, ...File[]];
  if (more.length === 0 && models.length === 0) return single(weight, 'safetensors');
  const byName = new Map(own.map((file) => [file.name, file]));
  const name = folders[0]!.split('/').at(-1) || weight.name.replace(/\.safetensors$/i, '');
  return {
    name,
    kind: 'folder',
    sample: false,
    open: () => ({
      name,
      has: async (file) => byName.has(file),
      open: async (file) => {
        const chosen = byName.get(file);
        if (!chosen)
          throw new FileError(`${name}: the file ${file} is not among those that you chose. Choose it, too.`);
        return blobSource(`${name}/${file}`, chosen);
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
export async function filesOf(transfer: DataTransfer): Promise<ChosenFile[]> {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry());
  if (entries.every((entry) => !entry?.isDirectory)) return pickedFiles(transfer.files);
  const files: ChosenFile[] = [];
  const visit = async (entry: FileSystemEntry | null, folder: string, depth: number): Promise<void> => {
    if (!entry || depth > 2) return;
    if (entry.isFile) {
      const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
      files.push({ file, folder });
      return;
    }
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    for (;;) {
      const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
      if (some.length === 0) return;
      for (const one of some) await visit(one, folder ? `${folder}/${entry.name}` : entry.name, depth + 1);
    }
  };
  for (const entry of entries) await visit(entry, '', 0);
  return files;
}
