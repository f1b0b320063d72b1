/** A `.wgsl` file as the build plugin delivers it: without comments, line by line as it is. */
export interface ShaderSource {
  /** Path below `shaders/`, without the ending: `linear/vector`. */
  readonly name: string;
  /** Line i is line i of the file; comments are empty lines. */
  readonly code: string;
  /** The files that it includes; each is taken once, wherever it is included. */
  readonly includes: readonly ShaderSource[];
}
