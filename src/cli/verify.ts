import { stat } from 'node:fs/promises';
import type { Command } from 'commander';
import { ArgumentError } from '../errors.ts';
import { type Checkpoint, openCheckpoint } from '../files/checkpoint.ts';
import { nodeFolder, openPath } from '../files/node-files.ts';
import { makeParent } from '../files/node-folders.ts';
import { nodeFileSink } from '../files/node-sink.ts';
import type { ByteSink } from '../files/sink.ts';
import { readStatistics } from '../passes/calibration/read-statistics.ts';
import { checkWeight } from '../passes/stored-weight.ts';
import { NO_LIMITS } from '../verify/block-plan.ts';
import { encodeForBoth } from '../verify/encode-text.ts';
import { planVerification, type VerifyPlanOptions } from '../verify/plan.ts';
import { passes, type Report, reportMarkdown } from '../verify/report.ts';
import type { VerifyProgress } from '../verify/stages.ts';
import { verify } from '../verify/verify.ts';
import { bytesText } from './columns.ts';
import { EXIT } from './exit-codes.ts';
import { adapterOption, type GpuOptions, gpuMemoryOption, withGpu } from './gpu-options.ts';
import { interruptSignal } from './interrupt.ts';
import { print, printJson, table } from './output.ts';
import { type Progress, startProgress } from './progress.ts';
import { readText, wholeNumber } from './text.ts';
import { type TuneOptions, tuneOption, tunerOf } from './tune-option.ts';

export interface VerifyCommandOptions extends GpuOptions, TuneOptions {
  readonly text?: string;
  readonly windows?: string;
  readonly window?: string;
  readonly maxPerplexityIncrease?: string;
  readonly report?: string;
  readonly speed?: boolean;
  readonly spectrum?: boolean;
  readonly statistics?: string;
  readonly json?: boolean;
}

const HELP = `
Without --text only sizes and weight errors are reported; bare tensors (.safetensors) have no config or tokenizer to score a
text with. The report's schema is schemas/report.schema.json.

Examples:
  $ compressa verify model out/model-q4_0 --text held-out.txt --windows 16 --max-perplexity-increase 1%
  $ compressa verify model --text held-out.txt
  $ compressa verify tensors.safetensors out/tensors.safetensors --report out/report.json
`;

export function registerVerify(program: Command): void {
  program
    .command('verify')
    .argument('<original>', 'a model folder, a .gguf or a .safetensors file')
    .argument('[compressed]', 'the same model, compressed; without it, the original alone is scored')
    .description('run both models on this GPU: size, accuracy, speed; or score one')
    .option('--text <file>', 'held-out text to score, in UTF-8')
    .option('--windows <n>', 'windows of the text to score (default: all)')
    .option('--window <n>', 'tokens in a window', '256')
    .option('--max-perplexity-increase <percent>', 'fail (exit code 1) above this, for instance 1%')
    .option(
      '--report <file.json>',
      'also write the report there as JSON, and as Markdown and as a page with plots beside it',
    )
    .option('--no-speed', 'leave the speed out')
    .option('--spectrum', "also find the singular values of the original's linear matrices, and plot them")
    .option(
      '--statistics <file>',
      'with --spectrum: what "compressa calibrate" gathered of their inputs, to whiten them',
    )
    .option('--json', 'print one JSON document')
    .addOption(tuneOption('quick'))
    .addOption(adapterOption())
    .addOption(gpuMemoryOption())
    .addHelpText('after', HELP)
    .action(async (original: string, compressed: string | undefined, options: VerifyCommandOptions) => {
      process.exitCode = await runVerify(original, compressed, options, { signal: interruptSignal });
    });
}

/**
 * The command's work. Everything that can be wrong with options, files and models shows before the GPU is opened.
 * @returns the exit code: the answer is no where the gate or a check failed, such as weights or logits that are NaN or infinite
 */
export async function runVerify(
  originalPath: string,
  compressedPath: string | undefined,
  options: VerifyCommandOptions,
  { signal }: { readonly signal: AbortSignal },
): Promise<number> {
  const numbers = parseNumbers(options);
  const checkpoints: Checkpoint[] = [];
  const open = async (path: string): Promise<Checkpoint> => {
    const checkpoint = await openModel(path, signal);
    checkpoints.push(checkpoint);
    return checkpoint;
  };
  let files: ReportFiles | undefined;
  let statistics: Awaited<ReturnType<typeof readStatistics>> | undefined;
  try {
    const original = await open(originalPath);
    const compressed = compressedPath === undefined ? undefined : await open(compressedPath);
    const settings: VerifyPlanOptions = {
      ...numbers,
      ...(options.text !== undefined && { tokens: await tokensOf(original, compressed, options.text) }),
      ...(options.speed === false && { speed: false as const }),
    };
    const { gpuMemory: budget } = options;
    const limits = budget === undefined ? NO_LIMITS : { ...NO_LIMITS, budget };
    const plan = planVerification(original, compressed, { ...settings, limits });
    files = options.report === undefined ? undefined : await openReport(options.report);
    if (!plan.run)
      console.error(
        'note: only sizes and weight errors: running the models needs a --text, and folders or .gguf files.',
      );
    // They end the report too; wrong arguments should show before the work.
    for (const note of plan.notes) console.error(`note: ${note}`);
    console.error(memoryText(plan.memory));
    if (options.statistics !== undefined && !options.spectrum) {
      throw new ArgumentError('--statistics is about spectra: give --spectrum.');
    }
    statistics =
      options.statistics === undefined ? undefined : await readStatistics(await openPath(options.statistics), signal);
    const spectra = options.spectrum ? { spectra: statistics ? { statistics } : {} } : {};
    const report = await withGpu(options, async (gpu) => {
      const progress = stageProgress();
      try {
        const tuner = tunerOf(gpu, options, signal);
        const how = { ...settings, ...spectra, gpu, signal, onProgress: progress.update };
        return await verify(original, compressed, { ...how, ...(tuner && { tuner }) });
      } finally {
        progress.stop();
      }
    });
    await files?.write(report);
    if (options.json) await printJson(report);
    else await print(reportMarkdown(report));
    return passes(report) ? EXIT.ok : EXIT.no;
  } finally {
    await files?.abort();
    await statistics?.close();
    for (const checkpoint of checkpoints) await checkpoint.close();
  }
}

async function openModel(path: string, signal: AbortSignal): Promise<Checkpoint> {
  const isFile = (await stat(path).catch(() => undefined))?.isFile() ?? false;
  return openCheckpoint(isFile ? await openPath(path) : await nodeFolder(path), { checkWeight, signal });
}

function parseNumbers({ window, windows, maxPerplexityIncrease }: VerifyCommandOptions): VerifyPlanOptions {
  return {
    ...(window !== undefined && { window: wholeNumber('--window', window, 2) }),
    ...(windows !== undefined && { windows: wholeNumber('--windows', windows, 1) }),
    ...(maxPerplexityIncrease !== undefined && { maxPerplexityIncrease: fraction(maxPerplexityIncrease) }),
  };
}

interface ReportFiles {
  write(report: Report): Promise<void>;
  /** Leaves nothing behind; does nothing after `write`. */
  abort(): Promise<void>;
}

/** Opens all files of a report, so that a folder that can't be written to shows at once; they appear complete or not at all. */
async function openReport(path: string): Promise<ReportFiles> {
  const names = reportNames(path);
  const removeParents = await makeParent(path);
  const sinks: ByteSink[] = [];
  const abort = async () => {
    for (const sink of sinks) await sink.abort();
    await removeParents();
  };
  try {
    for (const name of names) sinks.push(await nodeFileSink(name, { overwrite: true }));
  } catch (error) {
    await abort();
    throw error;
  }
  return {
    async write(report) {
      // Only who writes a report loads what draws it.
      const { reportHtml } = await import('../report/html.ts');
      const texts = [`${JSON.stringify(report, undefined, 2)}\n`, reportMarkdown(report), await reportHtml(report)];
      for (const [i, sink] of sinks.entries()) {
        await sink.write(new TextEncoder().encode(texts[i]));
        await sink.commit();
      }
      console.error(`Report: ${names.join(', ')}`);
    },
    abort,
  };
}

/** The JSON, the Markdown and the HTML file: whichever of the endings the name has, and the others beside it. */
export function reportNames(path: string): readonly [string, string, string] {
  const ending = /\.(json|md|html)$/i.exec(path)?.[0] ?? '';
  const stem = path.slice(0, path.length - ending.length);
  const named = (other: string) => (ending.toLowerCase() === other ? path : `${stem}${other}`);
  return [ending === '' ? path : named('.json'), named('.md'), named('.html')];
}

async function tokensOf(original: Checkpoint, compressed: Checkpoint | undefined, path: string): Promise<number[]> {
  return encodeForBoth(original, compressed, await readText(path));
}

function fraction(text: string): number {
  const match = /^(\d+(?:\.\d+)?)%?$/.exec(text.trim());
  if (!match) throw new ArgumentError(`--max-perplexity-increase takes a percentage such as 1%, not "${text}".`);
  return Number(match[1]) / 100;
}

function memoryText({ gpu, host }: Report['memory']): string {
  const rows: [string, string][] = [['host, at its peak', bytesText(host)]];
  if (gpu.peak > 0) {
    const { weights } = gpu;
    rows.push(
      ['GPU, at its peak', bytesText(gpu.peak)],
      ['  caches, activations', `${bytesText(gpu.caches)}, ${bytesText(gpu.activations)} of a block, at most`],
      ['whole models', `${bytesText(weights.original)} and ${bytesText(weights.compressed)}`],
    );
    if (gpu.stack !== null) rows.push(['GPU, for synthetic layers', bytesText(gpu.stack)]);
  }
  return table(rows, 'Memory (estimates)');
}

/** A bar for each stage in turn. */
function stageProgress(): { update(progress: VerifyProgress): void; stop(): void } {
  let current: { stage: string; progress: Progress } | undefined;
  return {
    update({ stage, done, total, unit, what }) {
      if (current?.stage !== stage) {
        current?.progress.stop();
        current = { stage, progress: startProgress(`Verifying: ${stage}`, { name: unit, scale: 1 }) };
      }
      current.progress.update(done, total, what);
    },
    stop: () => current?.progress.stop(),
  };
}
