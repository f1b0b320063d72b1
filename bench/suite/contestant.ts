import type { HostArrays } from '../../src/formats/format.ts';
import type { Arithmetic } from '../../src/verify/roofline-steps.ts';
import type { Rounding } from './linear-forms.ts';

/** y = x Wᵀ with a weight in one format. */
export interface LinearWork {
  readonly kind: 'linear';
  /** How the weight is stored: a name of our registry. Whoever stores it otherwise says so in its note. */
  readonly format: string;
  /** What is rounded besides the weight; the reference rounds inputs alike. Whoever doesn't says so. */
  readonly rounding?: Rounding;
  /** Rows of W: outputs. */
  readonly n: number;
  /** Columns of W: inputs. */
  readonly k: number;
  /** Rows of x. */
  readonly batch: number;
  /** Products of one run, each with the next copy of the weight. */
  readonly count: number;
  /** Distinct copies of the weight, so that all together they exceed the device's cache. */
  readonly copies: number;
  /** f32 [batch, k] */
  readonly x: Float32Array<ArrayBuffer>;
  /** f32 [n, k]: what the stored weight stands for, and what everybody multiplies with. */
  weights(): Promise<Float32Array<ArrayBuffer>>;
  /** The same weight as our format stores it, for those who can take its codes over. */
  stored(): Promise<HostArrays>;
}

/** Causal attention of `tokens` behind `past` others, all of them cached. */
export interface AttentionWork {
  readonly kind: 'attention';
  readonly tokens: number;
  readonly past: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly count: number;
  /** f32 [tokens, heads · headDim] */
  readonly q: Float32Array<ArrayBuffer>;
  /** f32 [past + tokens, kvHeads · headDim] */
  readonly keys: Float32Array<ArrayBuffer>;
  readonly values: Float32Array<ArrayBuffer>;
}

/** Taking a prompt in (`prefill`), or writing behind one (`decode`). */
export interface ModelWork {
  readonly kind: 'model';
  /** A folder of the checkout, or the name of a stack of layers that only we have. */
  readonly model: string;
  /** Of the linear matrices; or a mixture for all matrices, by its name in llama.cpp. */
  readonly format: string;
  readonly phase: 'prefill' | 'decode';
  /** Tokens of one run. */
  readonly count: number;
  /** Tokens before the first that is written. */
  readonly prompt: Uint32Array<ArrayBuffer>;
  /** The same model as a GGUF file, for those who read such; undefined where the format is none of theirs. */
  gguf?(): Promise<Uint8Array>;
}

/** What nobody but the suite itself can do. */
export interface OwnWork {
  readonly kind: 'own';
  readonly count: number;
}

export type Work = LinearWork | AttentionWork | ModelWork | OwnWork;

/** What a work takes from the device: of one of its `count` products. */
export interface Traffic {
  /** Bytes of memory that have to be read and written. */
  readonly bytes?: number;
  /** A multiply-add counts two. */
  readonly operations?: number;
  /** What they are done in: which rate of the roofline bounds them. Default f32. */
  readonly arithmetic?: Arithmetic;
}

/** Somebody who does a work and is timed at it. */
export interface Contestant {
  readonly name: string;
  /** What its time includes, and what is different from ours. */
  readonly note: string;
  /** Gets everything ready on the device; undefined where it can't do this work. */
  prepare(work: Work): Promise<Prepared | undefined>;
}

/** Holds an output of `check()` to a reference. */
export interface OutputReference {
  /** Relative error, ‖y − ŷ‖ / ‖y‖ where a case doesn't say otherwise. */
  error(output: Float32Array): number | Promise<number>;
  readonly tolerance: number;
}

/** A contestant that is ready for one work. */
export interface Prepared {
  /** Does `work.count` products; resolves when the device has finished them, always to the seconds they took where it times itself: in another process, say. */
  run(): Promise<void> | Promise<number>;
  /** What one product makes, as the work describes it, to be held to the reference. */
  check?(): Promise<Float32Array>;
  /** Where its weights stand for other numbers than the case's: what its output is held to instead. */
  readonly reference?: OutputReference;
  /** In place of the contestant's, where it depends on the work. */
  readonly note?: string;
  /** Where its traffic differs from the case's. */
  readonly traffic?: Traffic;
  /** Largest relative error that its arithmetic explains. Default: the case's. */
  readonly tolerance?: number;
  release(): void | Promise<void>;
}
