// What the benchmark's command line says, and what of it would be ignored.
import { Command, Option } from 'commander';
import { adapterOption, gpuMemoryOption, parseSize } from '../src/cli/gpu-options.ts';
import { ArgumentError } from '../src/errors.ts';
import { TUNE_MODES, type TuneMode } from '../src/tuner/tune-mode.ts';
import { SPARSE_FORMS } from './suite/linear-forms.ts';
import { SUITES } from './suite/suites.ts';

/** The command line of the benchmark, parsed. */
export interface BenchOptions {
  readonly quick?: boolean;
  readonly suite?: readonly string[];
  readonly filter?: string;
  readonly json: string;
  readonly report: string;
  readonly compare?: string;
  /** With `compare`: JSON of another run, instead of measuring. */
  readonly with?: string;
  /** Bytes. */
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

/** The command; `checkout` is false for the program that `--pack` writes, which has neither a browser nor what makes archives. */
export function benchCommand(checkout: boolean, run: (options: BenchOptions) => Promise<void>): Command {
  const program = new Command(checkout ? 'npm run bench --' : './run')
    .description(
      [
        'Time the kernels, the passes and the model on this device.',
        checkout
          ? 'Beside them: ONNX Runtime and llama.cpp, with --browser onnxruntime-web and TensorFlow.js, where `npm run peers` installed them.'
          : 'Peers take part in a checkout only.',
      ].join(' '),
    )
    .option('--quick', 'fewer and smaller cases and rounds: minutes on a software device')
    .option(
      '--suite <names...>',
      `only these: ${SUITES.map(({ name }) => name).join(', ')}; the roofline is always measured`,
    )
    .option(
      '--filter <text>',
      `only cases whose suite and name contain this, such as "linear q4_0"; one that fits none of the usual cases reaches others, such as "q4_0@2:4": ${SPARSE_FORMS}; "q4_0, f16 sums", "q4_0, int8 inputs"`,
    )
    .option('--json <file>', 'where the figures go', 'out/bench/bench.json')
    .option('--report <file>', 'where the page goes; Markdown goes beside it', 'out/bench/bench.html')
    .option(
      '--compare <file>',
      'JSON of an earlier run with the same --quick, --tune and --cycle on the same device; exit code 1 where ours got slower',
    )
    .option('--with <file>', 'with --compare: JSON of a later run to compare it with, instead of measuring')
    .addOption(
      new Option('--cycle <size>', 'memory that weights cycle through: more than the cache of the device')
        .argParser(parseSize)
        .default(64 * 2 ** 20, '64MiB'),
    )
    .addOption(
      new Option(
        '--tune <mode>',
        'how variants of our kernels are chosen: off takes the usual ones; quick times them for up to two seconds where the shape is new, full in up to three contests of four seconds for each shape, and both remember the best',
      )
        .choices(TUNE_MODES)
        .default('off'),
    )
    .addOption(adapterOption())
    .addOption(gpuMemoryOption())
    .exitOverride()
    .action((options: BenchOptions) => {
      refuseIgnored(program);
      return run(options);
    });
  if (checkout) {
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

/** @throws ArgumentError for options that would change nothing beside the others */
function refuseIgnored(program: Command): void {
  const given = program.options
    .filter((option) => program.getOptionValueSource(option.attributeName()) === 'cli')
    .map(({ long }) => long!);
  const listed = (names: readonly string[]) => names.join(', ');
  const besidePack = given.filter((name) => name !== '--pack');
  if (given.includes('--pack') && besidePack.length > 0) {
    throw new ArgumentError(
      `--pack measures nothing, so that ${listed(besidePack)} would be ignored: give it to the archive's own ./run.`,
    );
  }
  const besideWith = given.filter((name) => name !== '--with' && name !== '--compare');
  if (given.includes('--with')) {
    if (!given.includes('--compare')) {
      throw new ArgumentError('--with is the later of two runs to compare: give the earlier one as --compare.');
    }
    if (besideWith.length > 0) {
      throw new ArgumentError(
        `--with compares two files and measures nothing, so that ${listed(besideWith)} would be ignored: leave it out.`,
      );
    }
    return;
  }
  if (given.includes('--browser')) {
    if (given.includes('--adapter')) {
      throw new ArgumentError(
        '--adapter chooses among the adapters of Node; a browser chooses its own: --hardware and --chrome-flag say how.',
      );
    }
    return;
  }
  const browsers = given.filter((name) => ['--headed', '--hardware', '--chrome-flag'].includes(name));
  if (browsers.length > 0) throw new ArgumentError(`${listed(browsers)} would be ignored without --browser.`);
}
