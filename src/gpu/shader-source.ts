/** A `.wgsl` file as the build plugin delivers it: includes expanded, each line traceable to where it came from. */
export interface ShaderSource {
  /** Path of the main file below `shaders/`, without the ending: `linear/gemv`. */
  readonly name: string;
  readonly code: string;
  /** The files that make up `code`, main file first; paths relative to `shaders/`. */
  readonly files: readonly string[];
  /** For each line of `code`: index into `files` and the 1-based line there, as two consecutive numbers. */
  readonly lines: readonly number[];
}
