import { CancelledError, DeviceLostError } from '../errors.ts';
import { checkCancelled } from '../files/cancel.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { AttentionNeed, LinearNeed, Need, VariantChoice } from '../graph/variant-choice.ts';
import { WeightMaker } from '../verify/synthetic-weights.ts';
import { attentionNames, attentionVersion, attentionWork } from './attention-work.ts';
import { holdContest } from './contest.ts';
import { indexedDbTuningStore } from './indexed-db-store.ts';
import { linearNames, linearVersion, linearWork } from './linear-work.ts';
import { FAR, repeatContest } from './repeated-contest.ts';
import { attentionClass, classKey, linearClass } from './shape-class.ts';
import { memoryTuningStore, type Tuning, type TuningStore, type Tunings } from './store.ts';
import { type TuneMode, tuneModeByName } from './tune-mode.ts';
import { entrantsOf, type Work } from './work.ts';

/** How a tuner works, and where it keeps what it finds. */
export interface TunerOptions {
  readonly mode: TuneMode;
  /** Default: IndexedDB in a browser, else memory of this process, for this device. In Node: `nodeTuningStore()`. */
  readonly store?: TuningStore;
  /** Seconds of all contests together, kernels compiled included; what is left over is found out another time. Default: 2 for `quick`, no end for `full`. */
  readonly seconds?: number;
  readonly signal?: AbortSignal;
  /** Classes done and in all, and the one at work. */
  readonly onProgress?: (done: number, total: number, what: string) => void;
}

interface Budget {
  /** Contests of a class, each with data of its own. */
  readonly times: number;
  /** Seconds of the runs of one contest. */
  readonly contest: number;
  /** Seconds of a run of one entrant. */
  readonly run: number;
  /** Seconds of all contests. */
  readonly all: number;
}

const BUDGETS: Readonly<Record<'quick' | 'full', Budget>> = {
  quick: { times: 1, contest: 0.4, run: 0.002, all: 2 },
  full: { times: 3, contest: 4, run: 0.02, all: Number.POSITIVE_INFINITY },
};

/** What was found for a class of shapes on this device. */
export interface TuningFact extends Tuning {
  readonly shape: string;
}

/**
 * Times the variants of products and attention for classes of shapes on this device, and remembers which is fastest: lazily, when something is
 * about to run that no choice is known for. Kept choices hold for the device, its driver, the environment and the kernels that they were made among.
 */
export class Tuner implements VariantChoice {
  readonly #gpu: Gpu;
  readonly #options: TunerOptions;
  readonly #store: TuningStore;
  readonly #chosen = new Map<string, string>();
  /** Classes that this tuner does not look at again. */
  readonly #missed = new Set<string>();
  #kept: Tunings | undefined;
  #spent = 0;
  #busy: Promise<void> = Promise.resolve();

  constructor(gpu: Gpu, options: TunerOptions) {
    this.#gpu = gpu;
    this.#options = { ...options, mode: tuneModeByName(options.mode) };
    this.#store = options.store ?? storeOf(gpu);
  }

  /** The choices that are kept for this device, whatever kernels they were made among. */
  async facts(): Promise<TuningFact[]> {
    return [...(await this.#store.load(this.#device()))].map(([shape, tuning]) => ({ shape, ...tuning }));
  }

  /** The variant that was found for a product, where it is there on this device. */
  linear(need: LinearNeed): string | undefined {
    const name = this.#chosen.get(classKey(linearClass(need)));
    // A class has shapes that not every variant is for.
    return name !== undefined && linearNames(this.#gpu, need).includes(name) ? name : undefined;
  }

  /** The variant that was found for an attention, where it is there on this device. */
  attention(need: AttentionNeed): string | undefined {
    const name = this.#chosen.get(classKey(attentionClass(need)));
    return attentionNames(this.#gpu, need).find((one) => one === name);
  }

  /** One at a time: contests would slow each other down. @throws CancelledError, DeviceLostError */
  prepare(needs: readonly Need[]): Promise<void> {
    const work = this.#busy.then(() => this.#prepare(needs));
    this.#busy = work.catch(() => undefined);
    return work;
  }

  async #prepare(needs: readonly Need[]): Promise<void> {
    const { mode, signal, onProgress } = this.#options;
    if (mode === 'off') return;
    const classes = new Map<string, Need>();
    for (const need of needs) {
      const one = need.kind === 'linear' ? linearClass(need) : attentionClass(need);
      const key = classKey(one);
      if (!this.#chosen.has(key) && !this.#missed.has(key)) classes.set(key, one);
    }
    if (classes.size === 0) return;
    const { seconds: all = BUDGETS[mode].all } = this.#options;
    const kept = (this.#kept ??= await this.#store.load(this.#device()));
    // What nothing is known of comes before what is to be gone on with.
    const ordered = [...classes].sort(([a], [b]) => Number(kept.has(a)) - Number(kept.has(b)));
    const found = new Map<string, Tuning>();
    const works = new Works(this.#gpu, signal);
    let done = 0;
    try {
      for (const [key, need] of ordered) {
        checkCancelled(signal, 'Tuning');
        onProgress?.(done++, classes.size, key);
        const start = performance.now();
        try {
          const left = all - this.#spent;
          const tuning = await this.#tune(works, need, kept.get(key), left);
          if (tuning) this.#chosen.set(key, tuning.variant);
          else this.#missed.add(key);
          if (tuning && tuning !== kept.get(key)) found.set(key, tuning);
        } catch (error) {
          if (error instanceof CancelledError || error instanceof DeviceLostError) throw error;
          this.#gpu.throwIfLost();
          // The usual variant serves without a choice, and says better what is wrong, if anything is.
          this.#missed.add(key);
        } finally {
          this.#spent += (performance.now() - start) / 1000;
        }
      }
      onProgress?.(classes.size, classes.size, '');
    } finally {
      works.release();
      if (found.size > 0) {
        this.#kept = new Map([...kept, ...found]);
        await this.#store.save(this.#device(), found);
      }
    }
  }

  /**
   * What is kept for a class, if it still holds and is certain, or a contest's result, which goes on from what is kept; nothing where nothing is kept and no
   * time is left.
   */
  async #tune(works: Works, need: Need, kept: Tuning | undefined, left: number): Promise<Tuning | undefined> {
    const gpu = this.#gpu;
    const mode = this.#options.mode as 'quick' | 'full';
    const [names, kernels] =
      need.kind === 'linear'
        ? [linearNames(gpu, need), linearVersion(gpu, need)]
        : [attentionNames(gpu, need), attentionVersion(gpu, need)];
    const valid = kept?.kernels === kernels && names.includes(kept.variant) ? kept : undefined;
    if (valid && isSettled(valid, mode, names.length)) return valid;
    const before = valid?.mode === mode ? valid : undefined;
    if (names.length < 2 || left <= 0) return before;
    const { times, contest, run } = BUDGETS[mode];
    const end = performance.now() + 1000 * left;
    const leftNow = () => (end - performance.now()) / 1000;
    const { signal } = this.#options;
    const standing = await repeatContest(before ? remaining(names, before) : names, times, async (entering) => {
      if (leftNow() <= 0) return undefined;
      await gpu.idle();
      // What the contest before had would be handed out again, at the same place.
      gpu.memory.trim();
      const work = await works.open(need, entering);
      try {
        const ready = await entrantsOf(gpu, work, run, { product: contest, first: leftNow() });
        if (!ready) return undefined;
        const { entrants, chained } = ready;
        const found = await holdContest(entrants, { seconds: contest, wall: leftNow(), signal });
        return { ...found, seconds: new Map([...found.seconds].map(([name, time]) => [name, time / chained])) };
      } finally {
        work.release();
      }
    });
    if (!standing) return before;
    const { winner, clear, seconds } = standing;
    const each = [...seconds].map(([name, time]) => [name, Number(time.toPrecision(4))]);
    return {
      ...{ variant: winner, kernels, mode, clear, contests: (before?.contests ?? 0) + 1 },
      seconds: { ...before?.seconds, ...Object.fromEntries(each) },
    };
  }

  #device(): string {
    const { description, features, subgroupLanes } = this.#gpu;
    const { environment } = this.#store;
    return JSON.stringify({ ...description, subgroupLanes, features: [...features].sort(), environment });
  }
}

/** Whether no further contest is held: `full` took its time, and what is uncertain after as many quick ones as there are variants makes no difference. */
const isSettled = ({ mode, clear, contests }: Tuning, wanted: TuneMode, variants: number): boolean =>
  mode === 'full' || (wanted === 'quick' && (clear || contests >= variants));

/** Who takes part when a contest goes on: the usual variant, which is first, those that were not looked at, and those that were near the best. */
function remaining([usual, ...others]: readonly string[], { variant, seconds }: Tuning): string[] {
  const untried = others.filter((name) => seconds[name] === undefined);
  const near = others.filter((name) => name === variant || seconds[name]! <= FAR * seconds[variant]!);
  return [usual!, ...untried, ...near];
}

/** Opens works that share random numbers, made when the first asks for them. */
class Works {
  readonly #gpu: Gpu;
  readonly #signal: AbortSignal | undefined;
  #maker: WeightMaker | undefined;

  constructor(gpu: Gpu, signal: AbortSignal | undefined) {
    this.#gpu = gpu;
    this.#signal = signal;
  }

  open(need: Need, variants: readonly string[]): Promise<Work> {
    if (need.kind === 'attention') return attentionWork({ gpu: this.#gpu }, need, variants);
    this.#maker ??= new WeightMaker(this.#gpu, this.#signal);
    return linearWork({ gpu: this.#gpu, maker: this.#maker }, need, variants);
  }

  release(): void {
    if (!this.#maker) return;
    this.#maker.release();
    this.#gpu.memory.trim();
  }
}

const memories = new WeakMap<Gpu, TuningStore>();

/** Where choices are kept unless told otherwise. */
function storeOf(gpu: Gpu): TuningStore {
  if (typeof indexedDB !== 'undefined') return indexedDbTuningStore();
  let store = memories.get(gpu);
  if (!store) memories.set(gpu, (store = memoryTuningStore()));
  return store;
}
