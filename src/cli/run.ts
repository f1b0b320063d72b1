import { type Command, InvalidArgumentError, Option } from 'commander';
import { ArgumentError } from '../errors.ts';
import type { StopReason } from '../graph/generate.ts';
import { checkSampling } from '../graph/reference/sampling.ts';
import { CACHE_TYPES, type CacheType } from '../kernels/cache.ts';
import { chatTokensOf, type Generation, loadModel, promptTokensOf, readModel } from '../model.ts';
import type { ChatMessage } from '../models/chat-template.ts';
import { adapterOption, type GpuOptions, gpuMemoryOption, withGpu } from './gpu-options.ts';
import { interruptSignal } from './interrupt.ts';
import { openInput } from './node-inputs.ts';
import { printJson, write } from './output.ts';
import { type TuneOptions, tuneOption, tunerOf } from './tune-option.ts';

export interface RunCommandOptions extends GpuOptions, TuneOptions {
  readonly prompt: string;
  readonly chat?: boolean;
  readonly system?: string;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly seed: number;
  /** Default: f32. */
  readonly cache?: CacheType;
  readonly json?: boolean;
}

const HELP = `
Only the text that follows the prompt goes to standard output, as it comes; the rate goes to standard error.

Examples:
  $ compressa run models/union-7m --prompt 'My fellow citizens'
  $ compressa run out/union-q4 --prompt 'The state of the Union' --temperature 0.8 --top-p 0.95 --seed 7
  $ compressa run out/union-q4.gguf --prompt 'The state of the Union' --json
  $ compressa run out/smollm2-q4 --chat --system 'Answer in one sentence.' --prompt 'What is a prime number?'
`;

export function registerRun(program: Command): void {
  program
    .command('run')
    .argument('<model>', 'a model folder, compressed or not, or a .gguf file')
    .description('let a model write on from a prompt')
    .requiredOption('--prompt <text>', 'the text to go on from; with --chat, the message to answer')
    .option('--chat', "take the prompt for a message, by the model's own chat template")
    .option('--system <text>', 'what the model is told before the conversation (with --chat)')
    .option('--max-tokens <n>', 'most tokens to write', whole(1, Number.MAX_SAFE_INTEGER), 64)
    .option('--temperature <t>', 'how freely to draw; 0 takes the most likely token', number, 0)
    .option('--top-k <k>', 'draw only from the k most likely tokens; 0 for all', whole(0, Number.MAX_SAFE_INTEGER), 0)
    .option('--top-p <p>', 'draw only from the most likely tokens that make up this probability', number, 1)
    .option('--seed <n>', 'of the draws: the same seed gives the same text', whole(0, 0xffff_ffff), 0)
    .addOption(new Option('--cache <type>', 'how keys and values are kept').choices([...CACHE_TYPES]).default('f32'))
    .option('--json', 'print one JSON document, at the end')
    .addOption(tuneOption('quick'))
    .addOption(adapterOption())
    .addOption(gpuMemoryOption())
    .addHelpText('after', HELP)
    .action((model: string, options: RunCommandOptions) => runModel(model, options, { signal: interruptSignal }));
}

/** The command's work. */
export async function runModel(
  model: string,
  options: RunCommandOptions,
  { signal }: { readonly signal: AbortSignal },
): Promise<void> {
  const { prompt, maxTokens, seed, temperature, topK, topP, cache = 'f32' } = options;
  const sampling = { temperature, topK, topP };
  checkSampling(sampling);
  const { system } = options;
  if (system !== undefined && !options.chat)
    throw new ArgumentError('--system is a part of a conversation: add --chat.');
  const messages: ChatMessage[] = [
    ...(system === undefined ? [] : [{ role: 'system', content: system }]),
    { role: 'user', content: prompt },
  ];
  // Before the GPU is opened: most mistakes show here.
  const source = await readModel(await openInput(model), { signal });
  try {
    const prompted = (options.chat ? await chatTokensOf(source, messages) : promptTokensOf(source, prompt)).length;
    if (!options.chat && source.chatTemplate) {
      console.error('The model has a chat template: with --chat the prompt would be a message.');
    }
    const maxPositions = Math.min(source.graph.maxPositions, prompted + maxTokens);
    await withGpu(options, async (gpu) => {
      const tuner = tunerOf(gpu, options, signal);
      const opened = await loadModel(source, { gpu, maxPositions, cache, signal, ...(tuner && { tuner }) });
      const show = (text: string) => options.json || text === '' || write(forTerminal(text));
      const started = performance.now();
      let first = 0;
      let generation: Generation;
      const settings = { maxTokens, sampling, seed, signal };
      const run = options.chat ? opened.chat(messages, settings) : opened.generate(prompt, settings);
      for (;;) {
        const { value, done } = await run.next();
        first ||= performance.now();
        if (done) {
          generation = value;
          break;
        }
        // Nobody reads on.
        if (!(await show(value))) return;
      }
      const { promptTokens, tokens, text, reason } = generation;
      const firstTokenSeconds = (first - started) / 1000;
      // Without a second token there is nothing to divide.
      const tokensPerSecond = tokens.length > 1 ? (1000 * (tokens.length - 1)) / (performance.now() - first) : null;
      if (options.json) {
        const measured = { firstTokenSeconds, tokensPerSecond };
        const asked = options.chat ? { messages } : { prompt };
        await printJson({
          version: 1,
          model,
          ...asked,
          sampling,
          seed,
          promptTokens,
          tokens,
          text,
          reason,
          ...measured,
        });
        return;
      }
      await write('\n');
      const rate = tokensPerSecond === null ? '' : `, then ${tokensPerSecond.toPrecision(3)} tokens/s`;
      console.error(
        `${promptTokens.length} tokens of prompt; the first of ${tokens.length} new tokens after ` +
          `${firstTokenSeconds.toPrecision(3)} s${rate}; ended by ${ENDS[reason]}`,
      );
    });
  } finally {
    await source.checkpoint.close();
  }
}

const ENDS: Record<StopReason, string> = {
  'stop-token': 'the end of the text or turn',
  'max-tokens': '--max-tokens',
  'cache-full': "the model's longest text",
};

/** A model may write anything: on a terminal, control characters could do harm. Files get the text as it is. */
const forTerminal = (text: string): string => (process.stdout.isTTY ? text.replace(/[^\P{Cc}\n\t]/gu, '\uFFFD') : text);

function number(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('It is not a number.');
  return value;
}

const whole = (least: number, most: number) => (text: string) => {
  const value = number(text);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new InvalidArgumentError(
    `Give a whole number, ${least} ${most === Number.MAX_SAFE_INTEGER ? 'or more' : `to ${most}`}.`,
  );
};
