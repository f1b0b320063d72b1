import { FileError } from '../errors.ts';
import { checkFileName } from './file-name.ts';
import { quote } from './text.ts';

/** Where one file goes, front to back. Nothing exists under its name before `commit`. */
export interface ByteSink {
  /** What error messages call it. */
  readonly name: string;
  /** Appends; `bytes` may be reused once the promise is settled. */
  write(bytes: Uint8Array): Promise<void>;
  /** Makes the file complete. */
  commit(): Promise<void>;
  /** Leaves nothing behind; does nothing after `commit` or a second time. */
  abort(): Promise<void>;
  /** Only where an earlier run wrote some of the file: passes over bytes that are there already. */
  skip?(bytes: number): void;
  /** Where the file keeps what is written so that a later run can go on; `abort` then leaves it. */
  readonly resumable?: Resumable;
}

/** Where a model goes: files that appear together at `commit`, or not at all. */
export interface OutputFolder {
  readonly name: string;
  /** A new file; its own `commit` has to come before the folder's. */
  file(name: string): Promise<ByteSink>;
  /** @throws FileError where a file is still open, or the target can't be replaced. */
  commit(): Promise<void>;
  /** Leaves nothing behind; does nothing after `commit` or a second time. */
  abort(): Promise<void>;
  /** Where the folder keeps what is written so that a later run can go on; `abort` then leaves it. */
  readonly resumable?: Resumable;
}

/** How an output treats what is there already. */
export interface OutputOptions {
  /** Replace the target; default false: refuse. */
  readonly overwrite?: boolean;
  /** Go on with what an interrupted run left beside the target, and leave the same where this one is interrupted. Default: false. */
  readonly resume?: boolean;
}

/** What an output has that survives an interrupted run. Until the first `keep` or `append`, nothing is changed. */
export interface Resumable {
  readonly journal: Journal;
  /** The file `name` of a folder, or the one file of a single one, with what an earlier run left in it. */
  reopen(name: string): Promise<ResumableSink>;
}

/** Lines that are on the disk when `append` settles. */
export interface Journal {
  /** Complete ones that earlier runs left; a last one that was cut short is dropped. */
  readonly lines: readonly string[];
  /** Drops all but the first `count` of `lines`. */
  keep(count: number): Promise<void>;
  /** Adds one behind the others. @param line without line breaks */
  append(line: string): Promise<void>;
}

/** A sink of which some may be written already. */
export interface ResumableSink extends ByteSink {
  /** Bytes that were there when it was opened. Writing goes on behind them. */
  readonly size: number;
  /** @throws FileError where the file is shorter */
  read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
  /** Drops what is behind `size`, which is not more than there is; writing goes on there. */
  truncate(size: number): Promise<void>;
  /** Settles when all that was written is on the disk. */
  flush(): Promise<void>;
}

/** A file in memory. */
export interface MemorySink extends ByteSink {
  /** The file. @throws FileError before `commit`. */
  bytes(): Uint8Array<ArrayBuffer>;
}

/** Keeps what is written in memory, for browsers and tests. */
export function memorySink(name = 'memory'): MemorySink {
  let state: 'open' | 'committed' | 'aborted' = 'open';
  let chunks: Uint8Array[] = [];
  let file: Uint8Array<ArrayBuffer> | undefined;
  return {
    name,
    async write(bytes) {
      if (state !== 'open') throw closedSink(name);
      chunks.push(bytes.slice());
    },
    async commit() {
      if (state !== 'open') throw closedSink(name);
      state = 'committed';
      file = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0));
      let at = 0;
      for (const chunk of chunks) {
        file.set(chunk, at);
        at += chunk.byteLength;
      }
      chunks = [];
    },
    async abort() {
      if (state === 'committed') return;
      state = 'aborted';
      chunks = [];
    },
    bytes() {
      if (!file) throw new FileError(`${name}: the file is not complete; commit it first.`);
      return file;
    },
  };
}

/** An output folder in memory; `files` fills at `commit`. */
export interface MemoryOutput extends OutputFolder {
  readonly files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
}

/** Keeps a model in memory, for browsers and tests. `memoryFolder` reads it again. */
export function memoryOutput(name = 'memory'): MemoryOutput {
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  const register = sinkRegister(name);
  const sinks = new Map<string, MemorySink>();
  return {
    name,
    files,
    async file(file) {
      const sink = memorySink(`${name}/${file}`);
      const registered = register.add(file, sink);
      sinks.set(file, sink);
      return registered;
    },
    async commit() {
      for (const file of register.finish()) files.set(file, sinks.get(file)!.bytes());
    },
    abort: () => register.abort(),
  };
}

/** The books of an output folder: which files are open, complete or given up, and whether the folder still is open. */
export interface SinkRegister {
  /** `sink` as the caller sees it, with its end noted here. */
  add(file: string, sink: ByteSink): ByteSink;
  /** Closes the folder for its commit: the names of its complete files. */
  finish(): string[];
  /** Aborts what is open; false where the folder is closed already. */
  abort(): Promise<void>;
  /** Refuses a name that is bad or taken, or a folder that is closed. */
  check(file: string): void;
  readonly closed: boolean;
}

/** Shared by the output folders of every platform. */
export function sinkRegister(folder: string): SinkRegister {
  const states = new Map<string, 'open' | 'committed'>();
  const sinks = new Map<string, ByteSink>();
  let closed = false;
  const check = (file: string): void => {
    if (closed) throw new FileError(`${folder}: the output is already complete or given up.`);
    checkFileName(file, folder);
    if (states.has(file)) throw new FileError(`${folder}: the file ${quote(file)} is written twice.`);
  };
  return {
    get closed() {
      return closed;
    },
    check,
    add(file, sink) {
      check(file);
      states.set(file, 'open');
      sinks.set(file, sink);
      return {
        name: sink.name,
        write: (bytes) => sink.write(bytes),
        async commit() {
          await sink.commit();
          states.set(file, 'committed');
        },
        async abort() {
          if (states.get(file) !== 'open') return;
          await sink.abort();
          states.delete(file);
        },
      };
    },
    finish() {
      if (closed) throw new FileError(`${folder}: the output is already complete or given up.`);
      const open = [...states].filter(([, state]) => state === 'open').map(([file]) => quote(file));
      if (open.length > 0) throw new FileError(`${folder}: ${open.join(', ')} not complete; commit every file first.`);
      closed = true;
      return [...states.keys()];
    },
    async abort() {
      if (closed) return;
      closed = true;
      for (const [file, state] of states) if (state === 'open') await sinks.get(file)!.abort();
    },
  };
}

const closedSink = (name: string): FileError => new FileError(`${name}: written to after it was complete or given up.`);
