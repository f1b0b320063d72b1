import * as v from 'valibot';
import { TUNE_MODES } from '../../src/tuner/tune-mode.ts';

/** Of `BenchSchema` and of what cases time: results of another one can't be compared. */
export const BENCH_VERSION = 3;

const described = <const S extends v.GenericSchema>(schema: S, text: string) => v.pipe(schema, v.description(text));
const finite = (text: string) => v.pipe(v.number(), v.finite(), v.description(text));
const positive = (text: string) => v.pipe(v.number(), v.finite(), v.gtValue(0), v.description(text));
const count = (text: string) => v.pipe(v.number(), v.integer(), v.minValue(0), v.description(text));
const name = (text: string) => v.pipe(v.string(), v.description(text));
const interval = (text: string) => v.nullable(described(v.tuple([v.number(), v.number()]), text));

const ContestantSchema = v.object({
  name: name('Who: `ours`, a variant of ours, the device where it is measured itself, or a peer'),
  note: name('What its time includes, and what is different from ours'),
  samples: described(
    v.pipe(v.array(positive('Seconds')), v.minLength(1)),
    'Seconds of one product, round by round; those of the same round belong together',
  ),
  seconds: positive('Their median'),
  interval: interval('95% bootstrap interval of it; null where fewer than 6 rounds were timed'),
  speedUp: v.nullable(
    v.object({
      ratio: positive("The baseline's median time divided by this one's: above 1 is faster"),
      interval: interval('95% bootstrap interval over rounds, of which each is drawn for both'),
    }),
  ),
  gigabytesPerSecond: v.nullable(finite('Of the memory that has to be read and written')),
  gigaOperationsPerSecond: v.nullable(finite('A multiply-add counts two')),
  itemsPerSecond: v.nullable(finite("In the case's unit: weights, tokens")),
  ofRoofline: v.nullable(
    v.object({
      fraction: finite(
        'The least time that the measured rates allow, divided by the median: 1 is as fast as plain copies or plain arithmetic; what caches hold can be above',
      ),
      bound: described(v.picklist(['memory', 'arithmetic']), 'Which of the two rates that time is due to'),
    }),
  ),
  error: v.nullable(
    finite('Relative error against the reference before it was timed; null where there is none to hold it to'),
  ),
});

const CaseSchema = v.object({
  suite: name('Of the case'),
  name: name('Unique within the suite'),
  dimensions: described(v.record(v.string(), v.union([v.string(), v.number()])), 'Format, sizes, batch'),
  bytes: v.nullable(finite('Bytes of memory that one product reads and writes at least')),
  operations: v.nullable(finite('Arithmetic operations of one product; a multiply-add counts two')),
  arithmetic: described(v.picklist(['f32', 'f16', 'i8']), 'What they are done in'),
  items: v.nullable(v.object({ unit: name('What is counted'), count: finite('In one product') })),
  baseline: name('The contestant that speed-ups are over'),
  contestants: v.array(ContestantSchema),
  overPeers: described(
    v.array(
      v.object({
        peer: name('Its name among the contestants'),
        ratio: positive("The peer's time divided by that of ours, the median over rounds: above 1 ours is faster"),
        interval: interval('95% bootstrap interval over rounds, whose ratios are drawn; null where there are too few'),
      }),
    ),
    'Ours beside each peer that did the case in the same rounds',
  ),
  anchor: described(
    v.object({
      before: positive('Seconds of the fixed piece of work before the case'),
      after: positive('And behind it'),
      attempts: count('Times that the case was timed; what is shown is the one whose anchor moved least'),
      steady: described(v.boolean(), 'Whether the anchor moved no further than the method allows'),
    }),
    'Whether the clocks stood still',
  ),
});

/** What a run of the benchmark suite measured. */
export const BenchSchema = v.object({
  version: v.literal(BENCH_VERSION),
  engine: name('Version of Compressa'),
  started: name('When, in ISO 8601'),
  environment: name('Node or browser, with its version'),
  dawn: v.nullable(name("Version of Node's WebGPU, the package `webgpu`; a browser has its own")),
  quick: described(v.boolean(), 'Fewer and smaller cases, fewer rounds'),
  tune: described(v.optional(v.picklist(TUNE_MODES), 'off'), 'How variants of our kernels were chosen'),
  cycledBytes: count(
    'Of weights that take turns, so that the cache of a device with less than that does not hold them',
  ),
  complete: described(
    v.boolean(),
    'False where the run was cancelled or lost its device: what was measured before that is here',
  ),
  deviceLost: described(v.boolean(), 'The device was lost'),
  device: v.object({
    name: name('The GPU'),
    driver: v.nullable(name('Its driver, with its version; null where that is not told')),
    vendor: v.string(),
    architecture: v.string(),
    software: described(v.boolean(), 'Whether it computes on the CPU'),
    features: v.array(v.string()),
    limits: v.record(v.string(), v.number()),
  }),
  roofline: v.object({
    gigabytesPerSecond: positive('Bytes read plus bytes written: the better of copy and triad'),
    gigaOperationsPerSecond: v.object({
      f32: v.nullable(positive('Multiply-adds in f32, counting two')),
      f16: v.nullable(positive('In f16; null where the device has none')),
      i8: v.nullable(positive('In packed int8, with sums in int32; null where the device has none')),
    }),
  }),
  cases: v.array(CaseSchema),
  failures: described(
    v.array(v.object({ suite: v.string(), name: v.string(), contestant: v.nullable(v.string()), message: v.string() })),
    'Cases, or contestants of cases, that gave no figure, and why',
  ),
  absentPeers: described(
    v.array(v.object({ name: name('Who'), reason: v.string() })),
    'Peers that the run could not have, why, and what to do about it',
  ),
  notes: described(v.array(v.string()), 'What to know about the run'),
});

/** What a run of the benchmark suite measured. */
export type Bench = v.InferOutput<typeof BenchSchema>;
export type BenchCase = Bench['cases'][number];
export type BenchContestant = BenchCase['contestants'][number];
export type AbsentPeer = Bench['absentPeers'][number];
