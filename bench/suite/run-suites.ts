import { ArgumentError, CancelledError } from '../../src/errors.ts';
import { suggest } from '../../src/suggest.ts';
import type { TuningStore } from '../../src/tuner/store.ts';
import type { TuneMode } from '../../src/tuner/tune-mode.ts';
import { Tuner } from '../../src/tuner/tuner.ts';
import { describeDevice } from '../../src/verify/measure-device.ts';
import { openAnchor } from './anchor.ts';
import { FULL, QUICK } from './method.ts';
import type { Bench } from './results-schema.ts';
import { runCase } from './run-case.ts';
import type { SuiteContext } from './suite.ts';
import { rooflineOf } from './suites/roofline.ts';
import { SUITES } from './suites.ts';

/** What to run, and who is told. */
export interface RunSuitesOptions extends Omit<SuiteContext, 'roofline' | 'tuner'> {
  /** Default: `off`. */
  readonly tune?: TuneMode;
  /** Where choices are kept. Default: the tuner's. */
  readonly tuningStore?: TuningStore;
  readonly engine: string;
  readonly environment: string;
  /** Default: all. */
  readonly suites?: readonly string[];
  /** Only cases whose suite and name contain this. */
  readonly filter?: string;
  /** Cases done and in all, and the one at work. */
  readonly onProgress?: (done: number, total: number, name: string) => void;
}

/**
 * Runs the suites, the roofline first, since all figures are fractions of it. A cancelled run returns what was measured so far.
 * @throws ArgumentError for suites that there are not and a filter that fits nothing; DeviceLostError
 */
export async function runSuites(options: RunSuitesOptions): Promise<Bench> {
  const { gpu, quick, filter = '', signal, onProgress } = options;
  const names = SUITES.map(({ name }) => name);
  const wanted = options.suites ?? names;
  for (const name of wanted) {
    if (names.includes(name)) continue;
    throw new ArgumentError(`There is no suite "${name}".${suggest(name, names)} There are: ${names.join(', ')}.`);
  }
  const cases = SUITES.flatMap((suite) => {
    if (suite.name !== 'roofline' && !wanted.includes(suite.name)) return [];
    const all = suite.cases({ gpu, quick });
    return suite.name === 'roofline' ? all : all.filter(({ name }) => `${suite.name} ${name}`.includes(filter));
  });
  const found = cases.some(({ suite }) => suite !== 'roofline') || wanted.every((name) => name === 'roofline');
  if (!found) throw new ArgumentError(`No case of ${wanted.join(', ')} contains "${filter}".`);
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
  let complete = true;
  try {
    for (const [i, one] of cases.entries()) {
      onProgress?.(i, cases.length, `${one.suite} ${one.name}`);
      // Its own cases are what it is made of.
      const roofline = one.suite === 'roofline' ? undefined : rooflineOf(done);
      const { result, failures: failed } = await runCase(
        one,
        { ...options, ...(tuner && { tuner }), ...(roofline && { roofline }) },
        method,
      );
      if (result) done.push(result);
      failures.push(...failed);
    }
    onProgress?.(cases.length, cases.length, '');
  } catch (error) {
    if (!(error instanceof CancelledError)) throw error;
    complete = false;
  } finally {
    anchor.release();
  }
  const roofline = rooflineOf(done);
  if (!roofline) throw new CancelledError('The benchmark', 'it had not measured the device yet');
  const { description, vendor, architecture, device, software, features, limits } = describeDevice(gpu);
  const giga = (rate: number | null) => (rate === null ? null : rate / 1e9);
  const unsteady = done.filter(({ anchor }) => !anchor.steady).length;
  return {
    version: 1,
    engine: options.engine,
    started,
    environment: options.environment,
    quick,
    tune,
    complete,
    device: {
      description: description || device || `${vendor} ${architecture}`.trim() || 'unnamed',
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
    notes:
      unsteady === 0
        ? []
        : [
            `In ${unsteady} of ${done.length} cases the device's clock moved: a fixed piece of work took another time after the case than before it. Something else may have been at work.`,
          ],
  };
}
