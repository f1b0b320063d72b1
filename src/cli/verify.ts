import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Command } from 'commander';
import { ArgumentError, FileError, ModelError } from '../errors.ts';
import { type Checkpoint, openCheckpoint } from '../files/checkpoint.ts';
import { nodeFolder, openPath } from '../files/node-files.ts';
import { parseJsonObject } from '../files/strict-json.ts';
import { loadTokenizer } from '../models/tokenizer.ts';
import { checkWeight } from '../passes/stored-weight.ts';
import { reportMarkdown } from '../verify/report.ts';
import { verify } from '../verify/verify.ts';
import { EXIT } from './exit-codes.ts';
import { adapterOption, type GpuOptions, withGpu } from './gpu-options.ts';
import { interruptSignal } from './interrupt.ts';
import { print, printJson } from './output.ts';

interface VerifyCommandOptions extends GpuOptions {
  readonly text?: string;
  readonly windows?: string;
  readonly window?: string;
  readonly maxPerplexityIncrease?: string;
  readonly report?: string;
  readonly speed: boolean;
  readonly json?: boolean;
}

export function registerVerify(program: Command): void {
  program
    .command('verify <original> [compressed]')
    .description('run both models on this GPU: size, accuracy, speed; or score one')
    .option('--text <file>', 'held-out text to score')
    .option('--windows <n>', 'windows of the text to score (default: all)')
    .option('--window <n>', 'tokens in a window', '256')
    .option('--max-perplexity-increase <percent>', 'fail (exit code 1) above this, for instance 1%')
    .option('--report <file>', 'also write the report there as JSON, and as Markdown beside it')
    .option('--no-speed', 'leave the speed out')
    .option('--json', 'print one JSON document')
    .addOption(adapterOption())
    .addHelpText(
      'after',
      '\nExamples:\n  $ compressa verify model out/model-q4_0 --text held-out.txt --windows 16 --max-perplexity-increase 1%\n  $ compressa verify model --text held-out.txt',
    )
    .action(async (originalPath: string, compressedPath: string | undefined, options: VerifyCommandOptions) => {
      const gate = options.maxPerplexityIncrease === undefined ? undefined : fraction(options.maxPerplexityIncrease);
      const original = await open(originalPath);
      const compressed = compressedPath === undefined ? undefined : await open(compressedPath);
      const tokens = options.text === undefined ? undefined : await tokensOf(original, options.text);
      const report = await withGpu(options, (gpu) =>
        verify(original, compressed, {
          gpu,
          signal: interruptSignal,
          window: whole('--window', options.window!),
          ...(options.windows !== undefined && { windows: whole('--windows', options.windows) }),
          ...(tokens && { tokens }),
          ...(gate !== undefined && { maxPerplexityIncrease: gate }),
          ...(!options.speed && { speed: false as const }),
          onProgress: progressLine,
        }),
      );
      if (options.report !== undefined) {
        await mkdir(dirname(options.report), { recursive: true });
        await writeFile(options.report, `${JSON.stringify(report, undefined, 2)}\n`);
        await writeFile(options.report.replace(/(\.json)?$/, '.md'), reportMarkdown(report));
        console.error(`Report: ${options.report} and ${options.report.replace(/(\.json)?$/, '.md')}`);
      }
      if (options.json) await printJson(report);
      else await print(reportMarkdown(report));
      if (report.gate && !report.gate.passed) process.exitCode = EXIT.no;
    });
}

async function open(path: string): Promise<Checkpoint> {
  const options = { checkWeight, signal: interruptSignal };
  if (path.endsWith('.safetensors')) return openCheckpoint(await openPath(path), options);
  return openCheckpoint(await nodeFolder(path), options);
}

async function tokensOf(model: Checkpoint, path: string): Promise<number[]> {
  const tokenizer = await model.fileBytes('tokenizer.json');
  if (!tokenizer)
    throw new ModelError(
      `${model.name} has no tokenizer.json, which scoring a text needs. Copy the one of the original model there.`,
    );
  const config = await model.fileBytes('tokenizer_config.json');
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new FileError(`${path} could not be read: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
  const parsed = loadTokenizer(
    parseJsonObject(tokenizer, `${model.name}/tokenizer.json`),
    config ? parseJsonObject(config, `${model.name}/tokenizer_config.json`) : {},
  );
  return parsed.encode(text, { addSpecial: false });
}

function whole(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new ArgumentError(`${option} takes a whole number above 0, not "${text}".`);
  return value;
}

function fraction(text: string): number {
  const match = /^(\d+(?:\.\d+)?)%?$/.exec(text.trim());
  if (!match) throw new ArgumentError(`--max-perplexity-increase takes a percentage such as 1%, not "${text}".`);
  return Number(match[1]) / 100;
}

let lastStage = '';
function progressLine(stage: string, done: number, total: number): void {
  if (process.stderr.isTTY) {
    process.stderr.write(`\r\u001b[K${stage} ${total > 1 ? `${done}/${total}` : ''}${done === total ? '\n' : ''}`);
  } else if (stage !== lastStage) {
    console.error(`verify: ${stage}`);
  }
  lastStage = stage;
}
