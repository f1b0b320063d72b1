/**
 * Limits of the safetensors reader and writer. Each bounds what an untrusted file can make us hold or compute before
 * its content is known to be consistent (CWE-400, CWE-789).
 */

/** Bytes of the length field in front of the header. */
export const LENGTH_BYTES = 8;

/** The limit of the reference implementation; the header of a 400B model is about 1 MB. */
export const MAX_HEADER_BYTES = 100_000_000;

/** Tensors in a file: the largest mixture-of-experts checkpoints have some 100,000 over all shards. */
export const MAX_TENSORS = 500_000;

/** Dimensions of a tensor: 5 is the most that networks use (3-D convolution). */
export const MAX_DIMENSIONS = 8;

/** Characters of a tensor's name: real names stay under 200, and each appears in messages, maps and reports. */
export const MAX_NAME_LENGTH = 1024;

/** Entries of `__metadata__`: real files have a handful. */
export const MAX_METADATA_ENTRIES = 10_000;
