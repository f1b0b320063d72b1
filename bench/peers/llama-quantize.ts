// llama.cpp's own quantizer of whole models, called in the shared library that node-llama-cpp ships. `npm run peers` installs it.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const FOLDER = './node_modules/@node-llama-cpp/linux-x64/bins/linux-x64';
/** The names that the pinned release of the package has. */
const LIBRARIES = ['libggml-base.so', 'libggml.v0.4.0.so', 'libllama.v0.4.0.so'];

/** `llama_model_quantize_params`; what nobody here sets is a number of its size. */
const PARAMS = {
  nthread: 'int32_t',
  ftype: 'int32_t',
  output_tensor_type: 'int32_t',
  token_embedding_type: 'int32_t',
  allow_requantize: 'bool',
  quantize_output_tensor: 'bool',
  only_copy: 'bool',
  pure: 'bool',
  keep_split: 'bool',
  dry_run: 'bool',
  imatrix: 'void *',
  kv_overrides: 'void *',
  tt_overrides: 'void *',
  prune_layers: 'void *',
  more: 'int64_t',
};

export interface LlamaQuantizer {
  /**
   * Quantizes the matrices of a GGUF file as `llama_ftype` number `fileType` says; `importance`: by a tensor's name in GGUF, the weight of
   * each column.
   * @throws Error where llama.cpp refuses
   */
  quantize(input: string, output: string, fileType: number, importance?: ReadonlyMap<string, Float32Array>): void;
}

/** llama.cpp's quantizer, or what to do about its absence. */
export function openLlamaQuantizer(): LlamaQuantizer | string {
  const files = LIBRARIES.map((name) => fileURLToPath(new URL(`${FOLDER}/${name}`, import.meta.url)));
  if (!files.every((file) => existsSync(file))) return 'llama.cpp is not installed: npm run peers (Linux x64 only)';
  const koffi = createRequire(import.meta.url)('koffi');
  const library = files.map((file) => koffi.load(file, { global: true })).at(-1);
  const paramsType = koffi.struct(PARAMS);
  const entryType = koffi.struct({ name: 'const char *', data: 'const float *', size: 'size_t' });
  const defaults = library.func('llama_model_quantize_default_params', paramsType, []);
  const run = library.func('llama_model_quantize', 'uint32_t', [
    'const char *',
    'const char *',
    koffi.pointer(paramsType),
  ]);
  // Its progress is a line a tensor.
  const silence = koffi.register(() => undefined, koffi.pointer(koffi.proto('void (int, const char *, void *)')));
  library.func('void llama_log_set(void *callback, void *data)')(silence, null);
  return {
    quantize(input, output, fileType, importance) {
      const params = { ...defaults(), nthread: 2, ftype: fileType };
      if (importance) {
        const entries = [...importance].map(([name, data]) => ({ name, data, size: data.length }));
        const list = koffi.alloc(entryType, entries.length + 1);
        koffi.encode(list, koffi.array(entryType, entries.length + 1), [
          ...entries,
          { name: null, data: null, size: 0 },
        ]);
        params.imatrix = list;
      }
      if (run(input, output, params) !== 0) throw new Error(`llama.cpp could not quantize ${input} to ${fileType}.`);
    },
  };
}
