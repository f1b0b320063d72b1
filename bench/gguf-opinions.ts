// What Compressa and llama.cpp think of the same tokens, by the same GGUF file.
import { type Gpu, openModel, openPath, scoreWindows } from 'compressa';
import type { Measurement } from './claim.ts';
import { type LlamaDevice, openLlama } from './peers/llama.ts';

/** Tokens by falling probability that are compared. */
const TOP = 10;
const WINDOW = 256;

/** What one of them thinks. */
export interface Opinion {
  readonly perplexity: number;
  /** Probability of each token to follow the prompt. */
  readonly next: readonly number[];
}

/** What Compressa thinks of windows of a text, and of what follows a prompt. */
export async function ourOpinion(
  gpu: Gpu,
  path: string,
  windows: readonly Uint32Array[],
  prompt: readonly number[],
): Promise<Opinion> {
  const model = await openModel(await openPath(path), { gpu, maxPositions: WINDOW });
  try {
    const { decoder } = model;
    const { perplexity } = await scoreWindows(decoder, decoder, windows);
    decoder.rewind();
    const { logits } = await decoder.forward([...prompt]);
    const bytes = await gpu.readBack(logits.buffer, 0, prompt.length * model.graph.vocabulary * 4);
    const last = new Float32Array(bytes.buffer).subarray(-model.graph.vocabulary);
    const top = last.reduce((a, b) => Math.max(a, b));
    const exponentials = Array.from(last, (logit) => Math.exp(logit - top));
    const sum = exponentials.reduce((a, b) => a + b);
    return { perplexity: perplexity.original, next: exponentials.map((each) => each / sum) };
  } finally {
    await model.close();
  }
}

/** What llama.cpp thinks, or why it can't be asked. */
export async function theirOpinion(
  path: string,
  windows: readonly Uint32Array[],
  prompt: readonly number[],
  device?: LlamaDevice,
): Promise<Opinion | string> {
  const llama = await openLlama(path, WINDOW, device);
  if (typeof llama === 'string') return llama;
  try {
    let loss = 0;
    let count = 0;
    for (const window of windows) {
      const probabilities = await llama.probabilities([...window]);
      for (let i = 1; i < window.length; i++) {
        loss -= Math.log(probabilities[i - 1]!.get(window[i]!) ?? 0);
        count++;
      }
    }
    const last = (await llama.probabilities(prompt)).at(-1)!;
    const next = Array.from({ length: Math.max(...last.keys()) + 1 }, (_, id) => last.get(id) ?? 0);
    return { perplexity: Math.exp(loss / count), next };
  } finally {
    await llama.close();
  }
}

/** The tokens of a text, as llama.cpp cuts it. */
export async function theirTokens(path: string, text: string): Promise<readonly number[] | string> {
  const llama = await openLlama(path, WINDOW);
  if (typeof llama === 'string') return llama;
  const tokens = llama.tokenize(text);
  await llama.close();
  return tokens;
}

/** Largest relative difference among the tokens that `b` finds likeliest. */
export function furthest(a: Opinion, b: Opinion): number {
  const best = b.next
    .map((_, id) => id)
    .sort((x, y) => b.next[y]! - b.next[x]!)
    .slice(0, TOP);
  return Math.max(...best.map((id) => Math.abs(a.next[id]! / b.next[id]! - 1)));
}

/** Perplexities of the same windows within 0.5%. */
export function perplexityClaim(what: string, ours: Opinion, theirs: Opinion): Measurement {
  const deviation = Math.abs(ours.perplexity / theirs.perplexity - 1);
  return {
    claim: `${what}: perplexity`,
    threshold: "within 0.5% of llama.cpp's",
    measured: `${ours.perplexity.toFixed(4)} against ${theirs.perplexity.toFixed(4)}, off by ${(100 * deviation).toFixed(3)}%`,
    pass: deviation <= 0.005,
  };
}

/** Probabilities of what follows a prompt within 1e-2. */
export function nextClaim(what: string, ours: Opinion, theirs: Opinion): Measurement {
  const worst = furthest(ours, theirs);
  return {
    claim: `${what}: probabilities of the ${TOP} likeliest tokens after a prompt`,
    threshold: 'within 1e-2, relative',
    measured: worst.toExponential(2),
    pass: worst <= 1e-2,
  };
}
