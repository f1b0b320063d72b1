import type { ModelFiles } from '../../src/files/model-files.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import type { VariantChoice } from '../../src/graph/variant-choice.ts';
import type { Arithmetic } from '../../src/verify/roofline-steps.ts';
import type { Contestant, OutputReference, Traffic, Work } from './contestant.ts';

/** Rates that this run measured before everything else; null where the device can't. */
export interface Roofline {
  /** Bytes read plus bytes written, per second: the better of copy and triad. */
  readonly bytesPerSecond: number;
  /** Operations per second, a multiply-add counting two. */
  readonly operationsPerSecond: Readonly<Record<Arithmetic, number | null>>;
}

/** What suites are made for. */
export interface SuiteContext {
  readonly gpu: Gpu;
  /** Fewer and smaller cases. */
  readonly quick: boolean;
  /** Others that are asked to do each work. */
  readonly peers: readonly Contestant[];
  /** Bytes that weights cycle through, more than the device's cache. */
  readonly cycledBytes: number;
  /** Chooses among variants for ours. */
  readonly tuner?: VariantChoice;
  /** Of the sample model. */
  openModel(): Promise<ModelFiles>;
  readonly signal?: AbortSignal;
  /** Undefined while it is measured itself. */
  readonly roofline?: Roofline;
}

/** One thing to measure, as data: nothing is allocated before `open`. */
export interface Case extends Traffic {
  readonly suite: string;
  /** Unique within the suite; `--filter` looks at it. */
  readonly name: string;
  readonly dimensions: Readonly<Record<string, string | number>>;
  /** What its rate counts besides bytes and operations, of one product: weights, tokens. */
  readonly items?: { readonly unit: string; readonly count: number };
  /** The contestant that the others' speed-up is over. Default: the first that is ready. */
  readonly baseline?: string;
  open(context: SuiteContext): Promise<OpenCase>;
}

/** A case with its data. */
export interface OpenCase {
  readonly work: Work;
  /** Ours; peers of the context come behind. */
  readonly contestants: readonly Contestant[];
  /** Holds an output of `check()` to the reference. */
  readonly reference?: OutputReference;
  release(): void;
}

/** A list of cases under one name. */
export interface Suite {
  readonly name: string;
  readonly title: string;
  cases(context: Pick<SuiteContext, 'gpu' | 'quick'>): Case[];
  /** More, too many for a run: those that a filter names which fits none of `cases`. */
  others?(context: Pick<SuiteContext, 'gpu' | 'quick'>): Case[];
}
