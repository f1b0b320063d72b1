import { type Gpu, type Model, openModel } from '../../../src/index.ts';
import { make } from '../dom.ts';
import type { ModelInput } from '../engine/model-source.ts';

/** Of the prompt, beside what is written. */
const PROMPT_TOKENS = 192;

interface Column {
  readonly model: Model;
  readonly text: HTMLElement;
  readonly rate: HTMLElement;
  readonly run: AsyncGenerator<string, unknown, undefined>;
  milliseconds: number;
  tokens: number;
  done: boolean;
}

/**
 * Both models write on from one prompt, a token in turn, so that the device is shared fairly; each is timed by itself.
 * @param tokens that each writes at most
 * @returns tokens per second of each
 * @throws FileError, ModelError, OutOfMemoryError, CancelledError, DeviceLostError
 */
export async function writeSideBySide(
  gpu: Gpu,
  inputs: readonly [ModelInput, ModelInput],
  { prompt, tokens }: { readonly prompt: string; readonly tokens: number },
  box: HTMLElement,
  signal: AbortSignal,
): Promise<number[]> {
  const columns: Column[] = [];
  box.replaceChildren();
  try {
    for (const [i, input] of inputs.entries()) {
      const text = make('p', { class: 'written' }, make('b', {}, prompt));
      const rate = make('span', {}, 'loading');
      box.append(make('section', {}, make('h3', {}, i === 0 ? 'original' : 'compressed', ' ', rate), text));
      const model = await openModel(input.open(), { gpu, maxPositions: PROMPT_TOKENS + tokens, signal });
      const run = model.generate(prompt, { maxTokens: tokens, signal });
      columns.push({ model, text, rate, run, milliseconds: 0, tokens: 0, done: false });
    }
    while (columns.some(({ done }) => !done)) {
      for (const column of columns) if (!column.done) await step(column);
    }
    return columns.map(rateOf);
  } finally {
    for (const { model } of columns) await model.close();
  }
}

async function step(column: Column): Promise<void> {
  const started = performance.now();
  const { value, done } = await column.run.next();
  // The first token takes the prompt in and compiles what is new: it says nothing of the speed of writing.
  if (column.tokens > 0) column.milliseconds += performance.now() - started;
  column.done = done === true;
  if (done) return;
  column.tokens++;
  column.text.append(value);
  column.rate.textContent = column.tokens > 1 ? `${rateOf(column).toFixed(1)} tokens/s` : 'writing';
}

const rateOf = ({ tokens, milliseconds }: Column): number =>
  milliseconds > 0 ? (1000 * (tokens - 1)) / milliseconds : 0;
