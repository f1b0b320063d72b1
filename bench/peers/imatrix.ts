// llama.cpp's own reader of importance matrices (`common_imatrix_load`), called in the shared library that node-llama-cpp ships.
// It takes and gives C++ objects, laid out as libstdc++ does for the pinned release. `npm run peers` installs it.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const FOLDER = './node_modules/@node-llama-cpp/linux-x64/bins/linux-x64';
const LIBRARIES = ['libggml-base.so', 'libggml.v0.4.0.so', 'libllama.v0.4.0.so', 'libllama-common.so'];
const LOAD = '_Z19common_imatrix_loadRKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEER14common_imatrix';

/** What llama.cpp found in a file. */
export interface LlamaImatrix {
  /** Σx² for each column and the number of tokens, by the name of the matrix in GGUF. */
  readonly entries: ReadonlyMap<string, { readonly sums: Float32Array; readonly counts: readonly bigint[] }>;
  readonly datasets: readonly string[];
  readonly chunkCount: number;
  readonly chunkSize: number;
}

/** Bytes of the memory lent to the call, and where in it the std::string and the struct lie. */
const ROOM = 256;
const PATH = 0;
const IMATRIX = 64;
/** Of a std::map: the header node, behind the comparison; then the number of nodes. Members of `common_imatrix` follow. */
const HEADER = IMATRIX + 8;
const DATASETS = IMATRIX + 48;
const CHUNKS = DATASETS + 24;
/** Of a node of the map: its neighbours, then key and value; a std::string takes 32 bytes. */
const NODE = { parent: 8, left: 16, right: 24, key: 32, sums: 64, counts: 88, bytes: 112 };

/** The file as llama.cpp reads it, or what to do about llama.cpp's absence. @throws Error where llama.cpp refuses it */
export function readLlamaImatrix(path: string): LlamaImatrix | string {
  const files = LIBRARIES.map((name) => fileURLToPath(new URL(`${FOLDER}/${name}`, import.meta.url)));
  if (!files.every((file) => existsSync(file))) return 'llama.cpp is not installed: npm run peers (Linux x64 only)';
  const koffi = createRequire(import.meta.url)('koffi');
  const library = files.map((file) => koffi.load(file, { global: true })).at(-1);
  const load = library.func(LOAD, 'bool', ['void *', 'void *']);
  const bytesAt = (address: bigint, length: number): Uint8Array =>
    Uint8Array.from(koffi.decode(address, koffi.array('uint8_t', length)));
  const viewAt = (address: bigint, length: number) => new DataView(bytesAt(address, length).buffer);

  const text = new TextEncoder().encode(`${path}\0`);
  const chars = koffi.alloc('uint8_t', text.length);
  new Uint8Array(koffi.view(chars, text.length)).set(text);
  const memory = koffi.alloc('uint8_t', ROOM);
  const view = new DataView(koffi.view(memory, ROOM));
  for (let i = 0; i < ROOM; i++) view.setUint8(i, 0);
  const base: bigint = koffi.address(memory);
  const pointer = (at: number): bigint => view.getBigUint64(at, true);
  view.setBigUint64(PATH, koffi.address(chars), true);
  view.setBigUint64(PATH + 8, BigInt(text.length - 1), true);
  // An empty map's header is its own first and last node.
  const header = base + BigInt(HEADER);
  view.setBigUint64(HEADER + NODE.left, header, true);
  view.setBigUint64(HEADER + NODE.right, header, true);
  if (!load(base + BigInt(PATH), base + BigInt(IMATRIX))) throw new Error(`llama.cpp can't read ${path}.`);

  const span = (node: DataView, at: number): readonly [bigint, number] => {
    const start = node.getBigUint64(at, true);
    return [start, Number(node.getBigUint64(at + 8, true) - start)];
  };
  const stringIn = (node: DataView, at: number): string =>
    new TextDecoder().decode(bytesAt(node.getBigUint64(at, true), Number(node.getBigUint64(at + 8, true))));
  const entries = new Map<string, { sums: Float32Array; counts: bigint[] }>();
  const walk = (address: bigint): void => {
    if (address === 0n) return;
    const node = viewAt(address, NODE.bytes);
    walk(node.getBigUint64(NODE.left, true));
    const counts = viewAt(...span(node, NODE.counts));
    entries.set(stringIn(node, NODE.key), {
      sums: new Float32Array(bytesAt(...span(node, NODE.sums)).buffer),
      counts: Array.from({ length: counts.byteLength / 8 }, (_, i) => counts.getBigInt64(8 * i, true)),
    });
    walk(node.getBigUint64(NODE.right, true));
  };
  walk(pointer(HEADER + NODE.parent));
  const [first, length] = span(view, DATASETS);
  const strings = length === 0 ? undefined : viewAt(first, length);
  return {
    entries,
    datasets: Array.from({ length: length / 32 }, (_, i) => stringIn(strings!, 32 * i)),
    chunkCount: view.getInt32(CHUNKS, true),
    chunkSize: view.getInt32(CHUNKS + 4, true),
  };
}
