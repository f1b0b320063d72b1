import {
  type Calibration,
  type CompressProgress,
  type CompressReport,
  compress,
  cutWindows,
  encodeText,
  fileSystemSink,
  formatByName,
  type Gpu,
  memoryOutput,
  memorySink,
  openCheckpoint,
  opfsOutput,
  type Recipe,
  type Report,
  type TimelineSpan,
  type VerifyProgress,
  verify,
} from '../../../src/index.ts';
import { needsCalibration } from '../../../src/passes/methods/method.ts';
import { knowsInputs, pruningOf } from '../../../src/passes/pruning/pruning.ts';
import { checkWeight } from '../../../src/passes/stored-weight.ts';
import { type ModelInput, writtenInput } from './model-source.ts';
import type { Network } from './network.ts';

/** A compressed model: its files, in memory or on the browser's own disk, and how it came about. */
export interface Compressed {
  readonly input: ModelInput;
  readonly files: ReadonlyMap<string, Blob>;
  readonly report: CompressReport;
}

/** Above that many bytes of weights, what is written goes to the browser's own disk. */
const MOST_IN_MEMORY = 256 * 1024 * 1024;

/** Text for a calibration: enough windows to tell columns apart, few enough for a software device. */
const CALIBRATION = { windows: 16, window: 128 };

/** Whether some rule has to know what the inputs of matrices are like. */
export const needsInputs = ({ rules, shrink }: Recipe): boolean =>
  shrink?.score === 'obs' ||
  shrink?.score === 'wanda' ||
  shrink?.repair === 'refit' ||
  rules.some(
    ({ format, method, prune, refine }) =>
      (method && needsCalibration(method)) ||
      (refine ?? 0) > 0 ||
      (prune && knowsInputs(pruningOf(prune))) ||
      (format !== 'keep' && formatByName(format).activations === 'static'),
  );

export interface CompressCallbacks {
  readonly signal: AbortSignal;
  readonly onProgress: (progress: CompressProgress) => void;
  readonly onTimeline: (span: TimelineSpan) => void;
}

/**
 * Compresses the whole model by a recipe: by the library's own `compress`, streamed.
 * @param text to calibrate by, for recipes that need it
 * @throws as `compress`
 */
export async function compressModel(
  gpu: Gpu,
  { input, bytes }: Network,
  recipe: Recipe,
  text: (() => Promise<string>) | undefined,
  callbacks: CompressCallbacks,
): Promise<Compressed> {
  const calibration = text && needsInputs(recipe) ? await calibrationOf(input, await text()) : undefined;
  const options = { gpu, recipe, ...callbacks, ...(calibration && { calibration }) };
  const name = `${input.name.replace(/\.(gguf|safetensors)$/i, '')}-compressed`;
  const kind = input.kind;
  const small = bytes < MOST_IN_MEMORY;
  let files: Map<string, Blob>;
  let report: CompressReport;
  if (kind === 'folder' && small) {
    const output = memoryOutput(name);
    report = await compress(input.open(), output, options);
    files = new Map([...output.files].map(([file, data]) => [file, new Blob([data])]));
  } else if (kind === 'folder') {
    const folder = await (await disk()).getDirectoryHandle(name, { create: true });
    report = await compress(input.open(), await opfsOutput(folder, { overwrite: true }), options);
    files = await filesIn(folder);
  } else {
    const file = `${name}.${kind}`;
    const handle = small ? undefined : await (await disk()).getFileHandle(file, { create: true });
    const sink = handle ? await fileSystemSink(handle) : memorySink(file);
    report = await compress(input.open(), sink, options);
    files = new Map([
      [file, handle ? await handle.getFile() : new Blob([(sink as ReturnType<typeof memorySink>).bytes()])],
    ]);
  }
  return { input: writtenInput(name, kind, files), files, report };
}

const disk = () => navigator.storage.getDirectory();

async function filesIn(folder: FileSystemDirectoryHandle): Promise<Map<string, Blob>> {
  const files = new Map<string, Blob>();
  for await (const entry of folder.values()) {
    if (entry instanceof FileSystemFileHandle) files.set(entry.name, await entry.getFile());
  }
  return files;
}

async function calibrationOf(input: ModelInput, text: string): Promise<Calibration> {
  const checkpoint = await openCheckpoint(input.open(), { checkWeight });
  try {
    return { windows: cutWindows(await encodeText(checkpoint, text), CALIBRATION) };
  } finally {
    await checkpoint.close();
  }
}

export interface VerifySettings {
  readonly text: string;
  readonly windows: number;
  /** Tokens of a window. */
  readonly window: number;
  readonly speed: boolean;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: VerifyProgress) => void;
}

/** Runs both models over held-out text, by the library's own `verify`. @throws as `verify` */
export async function verifyModels(
  gpu: Gpu,
  original: ModelInput,
  compressed: ModelInput,
  settings: VerifySettings,
): Promise<Report> {
  const { speed, ...rest } = settings;
  const a = await openCheckpoint(original.open(), { checkWeight });
  try {
    const b = await openCheckpoint(compressed.open(), { checkWeight });
    try {
      return await verify(a, b, { gpu, ...rest, speed: speed && { stack: false } });
    } finally {
      await b.close();
    }
  } finally {
    await a.close();
  }
}
