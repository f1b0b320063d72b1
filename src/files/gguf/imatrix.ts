/** A matrix that an importance matrix may have a say in: as a graph lists it, under its name in Hugging Face checkpoints. */
export interface ImatrixTarget {
  readonly name: string;
  /** [rows, columns] */
  readonly shape: readonly number[];
  /** All that are `linear` have to be there. */
  readonly role: string;
}

/**
 * What llama.cpp calls an importance matrix: how large the inputs of each linear layer are, column by column, over some text
 * (`tools/imatrix` in llama.cpp).
 */
export interface Imatrix {
  /** For each matrix by its name in Hugging Face checkpoints: the mean of x² for each of its columns, [k]. */
  readonly importance: ReadonlyMap<string, Float32Array<ArrayBuffer>>;
  /** Names of the texts. */
  readonly datasets: readonly string[];
  /** Pieces in which the text was run, and tokens of each; 0 where the file does not say it. */
  readonly chunkCount: number;
  readonly chunkSize: number;
}

/** What `general.type` says of such a file. */
export const IMATRIX_TYPE = 'imatrix';
export const DATASETS_KEY = 'imatrix.datasets';
export const CHUNK_COUNT_KEY = 'imatrix.chunk_count';
export const CHUNK_SIZE_KEY = 'imatrix.chunk_size';

/** Behind the name of a matrix: the tensor of Σx² for each column, and the one of how many x there were. */
export const SUMS_SUFFIX = '.in_sum2';
export const COUNTS_SUFFIX = '.counts';
