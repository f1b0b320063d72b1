import { ArgumentError, CancelledError, DeviceLostError } from '../../src/errors.ts';
import { deviceNames } from '../../src/gpu/device-names.ts';
import { suggest } from '../../src/suggest.ts';
import type { TuningStore } from '../../src/tuner/store.ts';
import type { TuneMode } from '../../src/tuner/tune-mode.ts';
import { Tuner } from '../../src/tuner/tuner.ts';
import { describeDevice } from '../../src/verify/measure-device.ts';
import { openAnchor } from './anchor.ts';
import { FULL, QUICK } from './method.ts';
import { type AbsentPeer, BENCH_VERSION, type Bench } from './results-schema.ts';
import { runCase } from './run-case.ts';
import type { Case, SuiteContext } from './suite.ts';
import { isNeeded, rooflineOf } from './suites/roofline.ts';
import { SUITES } from './suites.ts';

/** What to run, and who is told. */
export interface RunSuitesOptions extends Omit<SuiteContext, 'roofline' | 'tuner'> {
  /** Default: `off`. */
  readonly tune?: TuneMode;
  /** Where choices are kept. Default: the tuner's. */
  readonly tuningStore?: TuningStore;
  /** Peers that could not be had, and why. */
  readonly absentPeers?: readonly AbsentPeer[];
  readonly engine: string;
  readonly environment: string;
  /** Version of the package `webgpu`, where that is what computes. */
  readonly dawn?: string;
  /** Default: all. */
  readonly suites?: readonly string[];
  /** Only cases whose suite and name contain this. */
  readonly filter?: string;
  /** Cases done and in all, and the one at work. */
  readonly onProgress?: (done: number, total: number, name: string) => void;
}

/**
 * The cases of a run: those of the roofline, and of the wanted suites those that the filter fits, or where none does, others of theirs that it fits.
 * @throws ArgumentError for suites that there are not and a filter that fits nothing
 */
export function chosenCases({
  gpu,
  quick,
  suites,
  filter = '',
}: Pick<RunSuitesOptions, 'gpu' | 'quick' | 'suites' | 'filter'>): Case[] {
  const names = SUITES.map(({ name }) => name);
  const wanted = suites ?? names;
  for (const name of wanted) {
    if (names.includes(name)) continue;
    throw new ArgumentError(`There is no suite "${name}".${suggest(name, names)} There are: ${names.join(', ')}.`);
  }
  const cases = SUITES.flatMap((suite) => {
    const all = () => suite.cases({ gpu, quick });
    if (suite.name === 'roofline') return all();
    if (!wanted.includes(suite.name)) return [];
    const fits = ({ name }: Case) => `${suite.name} ${name}`.includes(filter);
    const usual = all().filter(fits);
    return usual.length > 0 ? usual : (suite.others?.({ gpu, quick }).filter(fits) ?? []);
  });
  // The roofline is measured whole, since all figures are fractions of it: its own cases only count where they were asked for.
  const found = cases.some(
    ({ suite, name }) => wanted.includes(suite) && (suite !== 'roofline' || `${suite} ${name}`.includes(filter)),
  );
  if (!found) throw new ArgumentError(`No case of ${wanted.join(', ')} contains "${filter}".`);
  return cases;
}

/**
 * Runs the suites, the roofline first, since all figures are fractions of it. A run that is cancelled or loses its device returns what was measured so far.
 * @throws ArgumentError for suites that there are not and a filter that fits nothing; what kept the roofline from being measured, CancelledError before it was
 */
export async function runSuites(options: RunSuitesOptions): Promise<Bench> {
  const { gpu, quick, signal, onProgress } = options;
  const cases = chosenCases(options);
  const started = new Date().toISOString();
  const done: Bench['cases'] = [];
  const failures: Bench['failures'] = [];
  const anchor = await openAnchor(gpu);
  const method = { ...(quick ? QUICK : FULL), anchor: anchor.measure, signal };
  const { tune = 'off', tuningStore: store } = options;
  // Cases are many, and each may be the first of its shape.
  const seconds = Number.POSITIVE_INFINITY;
  const tuner =
    tune === 'off'
      ? undefined
      : new Tuner(gpu, { mode: tune, seconds, ...(store && { store }), ...(signal && { signal }) });
  let stopped: 'cancelled' | 'lost' | undefined;
  let at = 0;
  try {
    for (; at < cases.length; at++) {
      const one = cases[at]!;
      onProgress?.(at, cases.length, `${one.suite} ${one.name}`);
      // Its own cases are what it is made of.
      const roofline = one.suite === 'roofline' ? undefined : rooflineOf(done);
      const {
        result,
        failures: failed,
        cause,
      } = await runCase(one, { ...options, ...(tuner && { tuner }), ...(roofline && { roofline }) }, method);
      if (result) done.push(result);
      // Nothing else means anything then.
      else if (isNeeded(one)) throw cause;
      failures.push(...failed);
    }
    onProgress?.(cases.length, cases.length, '');
  } catch (error) {
    if (error instanceof CancelledError) stopped = 'cancelled';
    else if (error instanceof DeviceLostError && rooflineOf(done)) {
      stopped = 'lost';
      const { suite, name } = cases[at]!;
      failures.push({ suite, name, contestant: null, message: error.message });
    } else throw error;
  } finally {
    anchor.release();
  }
  const roofline = rooflineOf(done);
  if (!roofline) throw new CancelledError('The benchmark', 'it had not measured the device yet');
  const { vendor, architecture, software, features, limits } = describeDevice(gpu);
  const giga = (rate: number | null) => (rate === null ? null : rate / 1e9);
  const unsteady = done.filter(({ anchor }) => !anchor.steady).length;
  return {
    version: BENCH_VERSION,
    engine: options.engine,
    started,
    environment: options.environment,
    dawn: options.dawn ?? null,
    quick,
    tune,
    cycledBytes: options.cycledBytes,
    complete: stopped === undefined,
    deviceLost: stopped === 'lost',
    device: {
      ...deviceNames(gpu),
      ...{ vendor, architecture, software },
      features: [...features],
      limits: { ...limits },
    },
    roofline: {
      gigabytesPerSecond: roofline.bytesPerSecond / 1e9,
      gigaOperationsPerSecond: {
        f32: giga(roofline.operationsPerSecond.f32),
        f16: giga(roofline.operationsPerSecond.f16),
        i8: giga(roofline.operationsPerSecond.i8),
      },
    },
    cases: done,
    failures,
    absentPeers: [...(options.absentPeers ?? [])],
    notes:
      unsteady === 0
        ? []
        : [
            `In ${unsteady} of ${done.length} cases the device's clock moved: a fixed piece of work took another time after the case than before it. Something else may have been at work.`,
          ],
  };
}
