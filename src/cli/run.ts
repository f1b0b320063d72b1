import { type Command, InvalidArgumentError } from 'commander';
import { ModelError } from '../errors.ts';
import { type Checkpoint, openCheckpoint } from '../files/checkpoint.ts';
import { nodeFolder } from '../files/node-files.ts';
import { parseJsonObject } from '../files/strict-json.ts';
import { Decoder } from '../graph/decoder.ts';
import { generate, type StopReason } from '../graph/generate.ts';
import { checkSampling } from '../graph/reference/sampling.ts';
import { graphOf } from '../models/families.ts';
import { loadTokenizer, type Tokenizer } from '../models/tokenizer.ts';
import { loadWeights } from '../passes/load-weights.ts';
import { checkWeight } from '../passes/stored-weight.ts';
import { adapterOption, type GpuOptions, withGpu } from './gpu-options.ts';
import { interruptSignal } from './interrupt.ts';
import { printJson, write } from './output.ts';

export interface RunCommandOptions extends GpuOptions {
  readonly prompt: string;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly seed: number;
  readonly json?: boolean;
}

const HELP = `
Only the text that follows the prompt goes to standard output, as it comes; the rate goes to standard error.

Examples:
  $ compressa run models/union-7m --prompt 'My fellow citizens'
  $ compressa run out/union-q4 --prompt 'The state of the Union' --temperature 0.8 --top-p 0.95 --seed 7
  $ compressa run out/union-q4 --prompt 'The state of the Union' --json
`;

export function registerRun(program: Command): void {
  program
    .command('run')
    .argument('<model>', 'a model folder, compressed or not')
    .description('let a model write on from a prompt')
    .requiredOption('--prompt <text>', 'the text to go on from')
    .option('--max-tokens <n>', 'most tokens to write', number, 64)
    .option('--temperature <t>', 'how freely to draw; 0 takes the most likely token', number, 0)
    .option('--top-k <k>', 'draw only from the k most likely tokens; 0 for all', number, 0)
    .option('--top-p <p>', 'draw only from the most likely tokens that make up this probability', number, 1)
    .option('--seed <n>', 'of the draws: the same seed gives the same text', number, 0)
    .option('--json', 'print one JSON document, at the end')
    .addOption(adapterOption())
    .addHelpText('after', HELP)
    .action((model: string, options: RunCommandOptions) => runModel(model, options, { signal: interruptSignal }));
}

/** The command's work. */
export async function runModel(
  model: string,
  options: RunCommandOptions,
  { signal }: { readonly signal: AbortSignal },
): Promise<void> {
  const { prompt, maxTokens, seed, temperature, topK, topP } = options;
  const sampling = { temperature, topK, topP };
  checkSampling(sampling);
  const checkpoint = await openCheckpoint(await nodeFolder(model), { signal, checkWeight });
  try {
    // Before the GPU is opened: most mistakes show here.
    if (!checkpoint.config) throw new ModelError(`${model}: there is no config.json, so nothing says how to run it.`);
    const graph = graphOf(checkpoint.config, `${model}/config.json`);
    const tokenizer = await tokenizerOf(checkpoint);
    const promptTokens = tokenizer.encode(prompt);
    // A model that is told nothing starts a text.
    const { bos_token_id: start } = checkpoint.config;
    if (promptTokens.length === 0 && typeof start === 'number') promptTokens.push(start);
    const stopTokens = await stopTokensOf(checkpoint, tokenizer);
    await withGpu(options, async (gpu) => {
      const weights = await loadWeights(gpu, checkpoint, graph, {}, signal);
      const maxPositions = Math.min(graph.maxPositions, promptTokens.length + Math.max(1, maxTokens));
      const decoder = new Decoder(gpu, graph, weights, { maxPositions });
      const stream = tokenizer.stream({ skipSpecial: true });
      const show = (text: string) => options.json || text === '' || write(forTerminal(text));
      const tokens: number[] = [];
      let text = '';
      let reason: StopReason;
      const started = performance.now();
      let first = 0;
      const run = generate(decoder, promptTokens, { maxTokens, sampling, seed, stopTokens, signal });
      for (;;) {
        const { value, done } = await run.next();
        first ||= performance.now();
        if (done) {
          reason = value;
          break;
        }
        tokens.push(value);
        const piece = stream.push(value);
        text += piece;
        // Nobody reads on.
        if (!(await show(piece))) return;
      }
      const ended = performance.now();
      const rest = stream.finish();
      text += rest;
      const firstTokenSeconds = (first - started) / 1000;
      // Without a second token there is nothing to divide.
      const tokensPerSecond = tokens.length > 1 ? (1000 * (tokens.length - 1)) / (ended - first) : null;
      if (options.json) {
        const measured = { firstTokenSeconds, tokensPerSecond };
        await printJson({ version: 1, model, prompt, sampling, seed, promptTokens, tokens, text, reason, ...measured });
        return;
      }
      await write(`${forTerminal(rest)}\n`);
      const rate = tokensPerSecond === null ? '' : `, then ${tokensPerSecond.toPrecision(3)} tokens/s`;
      console.error(
        `${promptTokens.length} tokens of prompt; the first of ${tokens.length} new tokens after ` +
          `${firstTokenSeconds.toPrecision(3)} s${rate}; ended by ${ENDS[reason]}`,
      );
    });
  } finally {
    await checkpoint.close();
  }
}

const ENDS: Record<StopReason, string> = {
  'stop-token': 'the end of the text',
  'max-tokens': '--max-tokens',
  'cache-full': "the model's longest text",
};

async function tokenizerOf(checkpoint: Checkpoint): Promise<Tokenizer> {
  const json = async (name: string) => {
    const bytes = await checkpoint.fileBytes(name);
    return bytes && parseJsonObject(bytes, `${checkpoint.name}/${name}`);
  };
  const tokenizer = await json('tokenizer.json');
  if (!tokenizer) {
    throw new ModelError(
      `${checkpoint.name}: there is no tokenizer.json. Put the one that belongs to the model into the folder.`,
    );
  }
  return loadTokenizer(tokenizer, await json('tokenizer_config.json'));
}

/** Ends of text by all the files that may name them: some models have several, such as the end of a turn. */
async function stopTokensOf(checkpoint: Checkpoint, tokenizer: Tokenizer): Promise<Set<number>> {
  const stops = new Set<number>(tokenizer.endOfText === undefined ? [] : [tokenizer.endOfText]);
  const bytes = await checkpoint.fileBytes('generation_config.json');
  const generation = bytes && parseJsonObject(bytes, `${checkpoint.name}/generation_config.json`);
  for (const ids of [checkpoint.config?.eos_token_id, generation?.eos_token_id]) {
    for (const id of Array.isArray(ids) ? ids : [ids]) if (typeof id === 'number') stops.add(id);
  }
  return stops;
}

/** A model may write anything: on a terminal, control characters could do harm. Files get the text as it is. */
const forTerminal = (text: string): string => (process.stdout.isTTY ? text.replace(/[^\P{Cc}\n\t]/gu, '\uFFFD') : text);

function number(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('It is not a number.');
  return value;
}
