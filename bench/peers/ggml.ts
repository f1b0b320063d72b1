// ggml's own quantizers, called in the shared library that node-llama-cpp ships. The package is not a dependency of
// Compressa: `npm run peers` installs it.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** Numbers of `enum ggml_type` (ggml/include/ggml.h). */
const TYPES = {
  q4_0: 2,
  q4_1: 3,
  q5_0: 6,
  q5_1: 7,
  q8_0: 8,
  q2_k: 10,
  q3_k: 11,
  q4_k: 12,
  q5_k: 13,
  q6_k: 14,
  iq4_nl: 20,
  iq4_xs: 23,
  tq1_0: 34,
  tq2_0: 35,
  mxfp4: 39,
  nvfp4: 40,
} as const;

export type GgmlType = keyof typeof TYPES;

export interface Ggml {
  /** The blocks of `rows` rows of `k` weights, as `ggml_quantize_chunk` writes them; with an importance of `k` columns, or without. */
  quantize(type: GgmlType, weights: Float32Array, rows: number, k: number, importance?: Float32Array): Uint8Array;
  /** The same into `to`, an even number of rows in two threads, each half of them. */
  quantizeInTwoThreads(type: GgmlType, weights: Float32Array, rows: number, k: number, to: Uint8Array): Promise<void>;
  /** An even number of bf16 to f32 in two threads: what its quantizers read. */
  widenInTwoThreads(bf16: Uint16Array, to: Float32Array): Promise<void>;
  /** The weights that blocks stand for, as `dequantize_row_*` reads them. */
  dequantize(type: GgmlType, blocks: Uint8Array, count: number): Float32Array;
  /** Bytes of a row of `k` weights. */
  rowBytes(type: GgmlType, k: number): number;
}

type Native = ((...args: unknown[]) => unknown) & {
  /** In a thread of its own; the last argument is called with an error or null. */
  async(...args: unknown[]): void;
};

/** Runs a function on both halves of its work at once. */
async function inTwoThreads(native: Native, argumentsOf: (part: number) => unknown[]): Promise<void> {
  const run = (part: number) =>
    new Promise<void>((resolve, reject) => {
      native.async(...argumentsOf(part), (error: unknown) => (error ? reject(error) : resolve()));
    });
  await Promise.all([run(0), run(1)]);
}

/** ggml, or what to do about its absence. */
export function openGgml(): Ggml | string {
  const file = fileURLToPath(
    new URL('./node_modules/@node-llama-cpp/linux-x64/bins/linux-x64/libggml-base.so', import.meta.url),
  );
  if (!existsSync(file)) return 'llama.cpp is not installed: npm run peers (Linux x64 only)';
  const library = createRequire(import.meta.url)('koffi').load(file);
  const native = (prototype: string): Native => library.func(prototype);
  const quantize = native(
    'size_t ggml_quantize_chunk(int type, const float *from, void *to, int64_t start, int64_t rows, int64_t k, const float *importance)',
  );
  const widen = native('void ggml_bf16_to_fp32_row(const uint16_t *from, float *to, int64_t count)');
  const rowSize = native('size_t ggml_row_size(int type, int64_t k)');
  const dequantize = Object.fromEntries(
    Object.keys(TYPES).map((type) => [
      type,
      native(`void dequantize_row_${type.replace('_k', '_K')}(const void *from, _Out_ float *to, int64_t count)`),
    ]),
  );
  const rowBytes = (type: GgmlType, k: number) => Number(rowSize(TYPES[type], k));
  return {
    rowBytes,
    quantize(type, weights, rows, k, importance) {
      const bytes = new Uint8Array(rows * rowBytes(type, k));
      const written = Number(quantize(TYPES[type], weights, bytes, 0, rows, k, importance ?? null));
      if (written !== bytes.length) throw new Error(`ggml wrote ${written} bytes of ${bytes.length}.`);
      return bytes;
    },
    async quantizeInTwoThreads(type, weights, rows, k, to) {
      const half = rows / 2;
      const bytes = half * rowBytes(type, k);
      await inTwoThreads(quantize, (part) => [
        TYPES[type],
        weights.subarray(part * half * k, (part + 1) * half * k),
        to.subarray(part * bytes, (part + 1) * bytes),
        0,
        half,
        k,
        null,
      ]);
    },
    async widenInTwoThreads(bf16, to) {
      const half = bf16.length / 2;
      await inTwoThreads(widen, (part) => [bf16.subarray(part * half), to.subarray(part * half), half]);
    },
    dequantize(type, blocks, count) {
      const weights = new Float32Array(count);
      dequantize[type]!(blocks, weights, count);
      return weights;
    },
  };
}
