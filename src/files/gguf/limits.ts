/**
 * Limits of the GGUF reader and writer. Each bounds what an untrusted file can make us hold or compute before its
 * content is known to be consistent (CWE-400, CWE-770, CWE-789). Real files are far below all of them.
 */

/** The one version that is read and written; it is what every writer makes since 2023. */
export const GGUF_VERSION = 3;

/** Magic, version and the two counts. */
export const PREFIX_BYTES = 24;

/** Bytes before the data: a vocabulary of 260,000 tokens with merges and scores takes 15 MB. */
export const MAX_HEADER_BYTES = 128 * 1024 * 1024;

/** Bytes of the header without its arrays, which are read one by one when asked for: the parser's own buffer ends at 50 MB. */
export const MAX_REDUCED_BYTES = 40_000_000;

/** Keys of the metadata: real files have under 100. */
export const MAX_KEYS = 10_000;

/** Tensors: models of 1,000 billion weights have about 3,000, since experts share one. */
export const MAX_TENSORS = 65_536;

/** Bytes of a key. The specification allows 65,535; each appears in maps and messages. */
export const MAX_KEY_BYTES = 1024;

/** Bytes of a tensor's name: llama.cpp reads up to 63. */
export const MAX_TENSOR_NAME_BYTES = 256;

/** Bytes of one string: chat templates are the longest and stay under 100 kB. The parser reads strings up to 500 kB reliably. */
export const MAX_STRING_BYTES = 400_000;

/** Elements of all arrays together: vocabularies of 260,000 tokens with types, scores and merges have under 1,500,000. */
export const MAX_ARRAY_ELEMENTS = 4_000_000;

/** Arrays inside arrays: ggml's own reader takes none. */
export const MAX_ARRAY_DEPTH = 3;

/** Dimensions of a tensor, as ggml has it (GGML_MAX_DIMS). */
export const MAX_DIMENSIONS = 4;

/** Where a file does not say it. */
export const DEFAULT_ALIGNMENT = 32;

/** Bytes that the data's alignment may ask for: pages, at most. */
export const MAX_ALIGNMENT = 65_536;

/** Layers of a model that is run, as `models/config.ts` has it: configs list each. */
export const MAX_LAYERS = 1024;
