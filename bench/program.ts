import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { Command, Option } from 'commander';
import * as v from 'valibot';
import { EXIT, reportError } from '../src/cli/exit-codes.ts';
import { adapterOption, gpuMemoryOption, parseSize, withGpu } from '../src/cli/gpu-options.ts';
import { interruptSignal, listenForInterrupts } from '../src/cli/interrupt.ts';
import { type Progress, startProgress } from '../src/cli/progress.ts';
import { rerunOnSoftwareVulkan } from '../src/cli/software-vulkan.ts';
import { tuneOption } from '../src/cli/tune-option.ts';
import { FileError } from '../src/errors.ts';
import { nodeFolder } from '../src/files/node-files.ts';
import { nodeTuningStore } from '../src/files/node-tuning-store.ts';
import type { TuneMode } from '../src/tuner/tune-mode.ts';
import type { BenchJob } from './browser/page.ts';
import type { runInBrowser } from './browser/run-in-browser.ts';
import type { packBench } from './pack.ts';
import { compareRuns, comparisonText } from './suite/compare.ts';
import type { Contestant } from './suite/contestant.ts';
import { benchHtml } from './suite/report/html.ts';
import { benchMarkdown } from './suite/report/markdown.ts';
import { type Bench, BenchSchema } from './suite/results-schema.ts';
import { runSuites } from './suite/run-suites.ts';
import { SUITES } from './suite/suites.ts';

interface Options {
  readonly quick?: boolean;
  readonly suite?: readonly string[];
  readonly filter?: string;
  readonly json: string;
  readonly report: string;
  readonly compare?: string;
  readonly cycle: number;
  readonly tune: TuneMode;
  readonly adapter?: string;
  readonly gpuMemory?: number;
  readonly browser?: boolean;
  readonly hardware?: boolean;
  readonly headed?: boolean;
  readonly chromeFlag?: readonly string[];
  readonly pack?: string;
}

/** What needs a checkout: the program that `--pack` writes has none of it. */
export interface Extras {
  readonly peers: readonly Contestant[];
  readonly runInBrowser: typeof runInBrowser;
  readonly packBench: typeof packBench;
}

const SAMPLE_MODEL = 'models/union-7m';

function programOf(extras: Extras | undefined): Command {
  const program = new Command(extras ? 'npm run bench --' : './run')
    .description('Time the kernels, the passes and the model on this device, beside the peers that are installed.')
    .option('--quick', 'fewer and smaller cases and rounds: minutes on a software device')
    .option(
      '--suite <names...>',
      `only these: ${SUITES.map(({ name }) => name).join(', ')}; the roofline is always measured`,
    )
    .option('--filter <text>', 'only cases whose suite and name contain this')
    .option('--json <file>', 'where the figures go', 'out/bench/bench.json')
    .option('--report <file>', 'where the page goes; Markdown goes beside it', 'out/bench/bench.html')
    .option('--compare <file>', 'JSON of an earlier run; exit code 1 where something got slower')
    .addOption(
      new Option('--cycle <size>', 'memory that weights cycle through: more than the cache of the device')
        .argParser(parseSize)
        .default(64 * 2 ** 20, '64MiB'),
    )
    .addOption(tuneOption('off'))
    .addOption(adapterOption())
    .addOption(gpuMemoryOption())
    .exitOverride()
    .action((options: Options) => run(options, extras));
  if (extras) {
    program
      .option('--browser', 'in a headless Chrome or Chromium instead of Node')
      .option('--headed', 'with --browser: in a window')
      .option(
        '--hardware',
        "with --browser: on the machine's own GPU, where a browser on Linux would take its SwiftShader",
      )
      .option(
        '--chrome-flag <flags...>',
        'with --browser: more arguments for it, such as --chrome-flag=--enable-features=Vulkan',
      )
      .option(
        '--pack <file>',
        'measure nothing: write a .tar.gz that runs all this with one command on a bare Linux x64 machine',
      );
  }
  return program;
}

async function run(options: Options, extras: Extras | undefined): Promise<void> {
  if (extras && options.pack !== undefined) return pack(options.pack, extras);
  // First, so that a wrong file shows before anything is measured.
  const before = options.compare === undefined ? undefined : await readBench(options.compare);
  const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
  const progress = startProgress('Benchmark', { name: 'cases', scale: 1 });
  try {
    const job = {
      engine: version,
      quick: options.quick ?? false,
      cycledBytes: options.cycle,
      tune: options.tune,
      ...(options.suite && { suites: options.suite }),
      ...(options.filter !== undefined && { filter: options.filter }),
    };
    const bench = await (extras && options.browser
      ? inBrowser(job, options, progress, extras)
      : inNode(job, options, progress, extras?.peers ?? []));
    progress.stop();
    await writeResults(bench, options);
    if (before) {
      const comparison = compareRuns(before, bench);
      console.log(comparisonText(comparison));
      if (bench.complete && comparison.changes.some(({ verdict }) => verdict === 'slower')) process.exitCode = EXIT.no;
    }
  } finally {
    progress.stop();
  }
}

type Job = Omit<BenchJob, 'environment' | 'memoryBudget'>;

async function pack(path: string, { packBench }: Extras): Promise<void> {
  const bytes = await packBench(path, SAMPLE_MODEL);
  console.log(`${path}: ${(bytes / 1e6).toFixed(1)} MB. On the machine to measure:\n`);
  console.log(`  tar xzf ${basename(path)} && compressa-bench/run --tune quick\n`);
  console.log('Results appear there in compressa-bench/out/bench.');
}

const inNode = (job: Job, options: Options, progress: Progress, peers: readonly Contestant[]): Promise<Bench> =>
  withGpu(options, (gpu) =>
    runSuites({
      ...job,
      gpu,
      environment: `Node ${process.versions.node}`,
      peers,
      tuningStore: nodeTuningStore(),
      openModel: () => nodeFolder(SAMPLE_MODEL),
      signal: interruptSignal,
      onProgress: progress.update,
    }),
  );

const inBrowser = (
  job: Job,
  { gpuMemory, headed, hardware, chromeFlag }: Options,
  progress: Progress,
  { runInBrowser }: Extras,
): Promise<Bench> =>
  runInBrowser(
    { ...job, ...(gpuMemory !== undefined && { memoryBudget: gpuMemory }) },
    {
      model: SAMPLE_MODEL,
      launch: {
        ...(hardware && { gpu: 'hardware' }),
        ...(headed && { headed }),
        ...(chromeFlag && { flags: chromeFlag }),
      },
      signal: interruptSignal,
      onProgress: progress.update,
    },
  );

async function readBench(path: string): Promise<Bench> {
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    throw new FileError(`${path} can't be read as JSON: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
  const parsed = v.safeParse(BenchSchema, json);
  if (!parsed.success) throw new FileError(`${path} is no result of this suite: ${v.summarize(parsed.issues)}`);
  return parsed.output;
}

async function writeResults(bench: Bench, { json, report }: Options): Promise<void> {
  const markdown = benchMarkdown(bench);
  const files = {
    [json]: `${JSON.stringify(bench, undefined, 1)}\n`,
    [report]: await benchHtml(bench),
    [report.replace(/(\.html)?$/, '.md')]: markdown,
  };
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
  }
  console.log(markdown);
  console.error(`Written: ${Object.keys(files).join(', ')}`);
  if (!bench.complete) process.exitCode = EXIT.cancelled;
}

/** Runs the command line, and sets the exit code. */
export async function runProgram(extras?: Extras): Promise<void> {
  try {
    const code = await rerunOnSoftwareVulkan();
    if (code === undefined) {
      listenForInterrupts();
      await programOf(extras).parseAsync();
    } else process.exitCode = code;
  } catch (error) {
    process.exitCode = reportError(error, interruptSignal);
  }
}
