/**
 * Every error that Compressa raises on purpose. `code` is stable and meant for programs; the message says what
 * happened, to which file, tensor or option, and what to do about it.
 */
export abstract class CompressaError extends Error {
  abstract readonly code: string;
  /** The class's name, from the code: bundlers for the web shorten names of classes. */
  override get name(): string {
    const words = this.code.toLowerCase().split('_');
    return `${words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('')}Error`;
  }
}

/** No usable adapter, a missing feature, or a null backend. */
export class NoDeviceError extends CompressaError {
  readonly code = 'NO_DEVICE';
}

/** The GPU device was lost or destroyed while work was pending. */
export class DeviceLostError extends CompressaError {
  readonly code = 'DEVICE_LOST';
}

/** An allocation failed on the device, or would exceed the memory budget. */
export class OutOfMemoryError extends CompressaError {
  readonly code = 'OUT_OF_MEMORY';
}

/** A shader did not compile or a pipeline was refused; the message shows the `.wgsl` file, line and source. */
export class ShaderError extends CompressaError {
  readonly code = 'SHADER';
}

/** WebGPU rejected a command: always a defect of Compressa. */
export class GpuValidationError extends CompressaError {
  readonly code = 'GPU_VALIDATION';
}

/** The device's arithmetic failed the numeric self-test. */
export class SelfTestError extends CompressaError {
  readonly code = 'SELF_TEST';
}

/** The caller's `AbortSignal` (or Ctrl-C) stopped the work. */
export class CancelledError extends CompressaError {
  readonly code = 'CANCELLED';
  /** `after`: what a caller may want to know about what is left, such as "nothing was written". */
  constructor(what = 'The work', after = '') {
    super(`${what} was cancelled${after && `; ${after}`}.`);
  }
}

/** A file is missing, unreadable, not of a known type, truncated or inconsistent. */
export class FileError extends CompressaError {
  readonly code = 'FILE';
}

/** A model folder lacks something, or its config and tensors do not fit together. */
export class ModelError extends CompressaError {
  readonly code = 'MODEL';
}

/** A tensor cannot be stored in the wanted format: unknown name, or a block that does not divide its rows. */
export class FormatError extends CompressaError {
  readonly code = 'FORMAT';
}

/** A recipe has an unknown key, or a value that makes no sense. */
export class RecipeError extends CompressaError {
  readonly code = 'RECIPE';
}

/** NaN or infinity where only finite numbers may be. */
export class NonFiniteError extends CompressaError {
  readonly code = 'NON_FINITE';
}

/** An argument of a public function or a command-line option is out of range. */
export class ArgumentError extends CompressaError {
  readonly code = 'ARGUMENT';
}

/** An iteration that should have converged long before did not: always a defect of Compressa, or of the device. */
export class ConvergenceError extends CompressaError {
  readonly code = 'CONVERGENCE';
}
