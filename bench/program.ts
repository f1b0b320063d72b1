import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import type { Command } from 'commander';
import { EXIT, reportError } from '../src/cli/exit-codes.ts';
import { withGpu } from '../src/cli/gpu-options.ts';
import { interruptSignal, listenForInterrupts } from '../src/cli/interrupt.ts';
import { type Progress, startProgress } from '../src/cli/progress.ts';
import { rerunOnSoftwareVulkan } from '../src/cli/software-vulkan.ts';
import { nodeFolder } from '../src/files/node-files.ts';
import { nodeTuningStore } from '../src/files/node-tuning-store.ts';
import { deviceNames } from '../src/gpu/device-names.ts';
import { type BenchOptions, benchCommand } from './bench-options.ts';
import type { BenchJob } from './browser/page.ts';
import type { runInBrowser } from './browser/run-in-browser.ts';
import type { PeerOptions, Peers } from './contestants/peers.ts';
import type { packBench } from './pack.ts';
import { readBench, writeBench } from './results-files.ts';
import { type Comparison, compareRuns, comparisonText, gotSlower } from './suite/compare.ts';
import { OURS } from './suite/names.ts';
import type { Bench } from './suite/results-schema.ts';
import { runSuites } from './suite/run-suites.ts';

/** What needs a checkout: the program that `--pack` writes has none of it. */
export interface Extras {
  /** Those of `npm run peers`. */
  openPeers(options: PeerOptions): Promise<Peers>;
  readonly runInBrowser: typeof runInBrowser;
  readonly packBench: typeof packBench;
}

/** The checkout, or the folder that an archive unpacks to: this file, or the bundle that it is in, is in a folder of it. Paths of options are the caller's. */
const ROOT = join(import.meta.dirname, '..');
const SAMPLE_MODEL = 'models/union-7m';

/** The benchmark as a command. */
export const benchProgram = (extras: Extras | undefined): Command =>
  benchCommand(extras !== undefined, (options) => run(options, extras));

async function run(options: BenchOptions, extras: Extras | undefined): Promise<void> {
  if (extras && options.pack !== undefined) return pack(options.pack, extras);
  // First, so that a wrong file shows before anything is measured.
  const before = options.compare === undefined ? undefined : await readBench(options.compare);
  if (before && options.with !== undefined) {
    const comparison = compareRuns(before, await readBench(options.with));
    console.log(comparisonText(comparison));
    process.exitCode = gotSlower(comparison) ? EXIT.no : EXIT.ok;
    return;
  }
  const progress = startProgress('Benchmark', { name: 'cases', scale: 1 });
  try {
    const job = {
      engine: await versionIn(ROOT),
      quick: options.quick ?? false,
      cycledBytes: options.cycle,
      tune: options.tune,
      ...(options.suite && { suites: options.suite }),
      ...(options.filter !== undefined && { filter: options.filter }),
    };
    const bench = await (extras && options.browser
      ? inBrowser(job, options, progress, extras)
      : inNode(job, options, progress, extras));
    progress.stop();
    const { markdown, paths } = await writeBench(bench, options);
    console.log(markdown);
    console.error(`Written: ${paths.join(', ')}`);
    const comparison = before && compareRuns(before, bench);
    if (comparison) console.log(comparisonText(comparison));
    process.exitCode = exitCodeOf(bench, comparison);
  } finally {
    progress.stop();
  }
}

/** What a script can tell of a run: that it is not all, or that ours failed somewhere, or got slower. */
export function exitCodeOf(bench: Bench, comparison: Comparison | undefined): number {
  if (bench.deviceLost) return EXIT.device;
  if (!bench.complete) return EXIT.cancelled;
  // A case that could not be made is ours, too.
  const failed = bench.failures.some(({ contestant }) => contestant === OURS || contestant === null);
  return failed || (comparison && gotSlower(comparison)) ? EXIT.no : EXIT.ok;
}

type Job = Omit<BenchJob, 'environment' | 'memoryBudget' | 'peers'>;

/** Of a packed program. */
const NO_PEERS: Peers = {
  contestants: [],
  absent: [{ name: 'Peers', reason: 'an archive brings none: run the benchmark in a checkout, after npm run peers' }],
  close: async () => {},
};

const versionIn = async (folder: string): Promise<string> =>
  (JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as { version: string }).version;

async function pack(path: string, { packBench }: Extras): Promise<void> {
  const bytes = await packBench(path, SAMPLE_MODEL);
  console.log(`${path}: ${(bytes / 1e6).toFixed(1)} MB. On the machine to measure:\n`);
  console.log(`  tar xzf ${basename(path)} && compressa-bench/run --tune quick\n`);
  console.log('Results appear in out/bench, where it was called from.');
}

const inNode = (job: Job, options: BenchOptions, progress: Progress, extras: Extras | undefined): Promise<Bench> =>
  withGpu(options, async (gpu) => {
    const [{ software }, { name: device }] = [gpu.description, deviceNames(gpu)];
    const peers =
      (await extras?.openPeers({ quick: job.quick, device, software, signal: interruptSignal })) ?? NO_PEERS;
    try {
      return await runSuites({
        ...job,
        gpu,
        environment: `Node ${process.versions.node}`,
        dawn: await versionIn(dirname(createRequire(import.meta.url).resolve('webgpu'))),
        peers: peers.contestants,
        absentPeers: peers.absent,
        tuningStore: nodeTuningStore(),
        openModel: () => nodeFolder(join(ROOT, SAMPLE_MODEL)),
        signal: interruptSignal,
        onProgress: progress.update,
      });
    } finally {
      await peers.close();
    }
  });

const inBrowser = (
  job: Job,
  { gpuMemory, headed, hardware, chromeFlag }: BenchOptions,
  progress: Progress,
  { runInBrowser }: Extras,
): Promise<Bench> =>
  runInBrowser(
    { ...job, ...(gpuMemory !== undefined && { memoryBudget: gpuMemory }) },
    {
      model: join(ROOT, SAMPLE_MODEL),
      launch: {
        ...(hardware && { gpu: 'hardware' }),
        ...(headed && { headed }),
        ...(chromeFlag && { flags: chromeFlag }),
      },
      signal: interruptSignal,
      onProgress: progress.update,
    },
  );

/** Runs the command line, and sets the exit code. */
export async function runProgram(extras?: Extras): Promise<void> {
  try {
    // Two files are compared without a GPU, of which there may be none.
    const code = process.argv.some((argument) => argument.startsWith('--with'))
      ? undefined
      : await rerunOnSoftwareVulkan();
    if (code === undefined) {
      listenForInterrupts();
      await benchProgram(extras).parseAsync();
    } else process.exitCode = code;
  } catch (error) {
    process.exitCode = reportError(error, interruptSignal);
  }
}
