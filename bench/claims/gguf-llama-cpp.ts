import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compress, cutWindows, type Gpu, nodeFileSink, nodeFolder, openModel, openPath, scoreWindows } from 'compressa';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';
import { type LlamaModel, openLlama } from '../peers/llama.ts';

const FORMATS = ['f16', 'q8_0', 'q4_0', 'q5_1'];
const WINDOWS = 4;
const PROMPT = 'My fellow citizens';
const TOP = 10;

/** What both think of the same tokens. */
interface Opinion {
  readonly perplexity: number;
  readonly prompt: readonly number[];
  /** Probability of each token to follow the prompt. */
  readonly next: ArrayLike<number>;
}

/** Files that Compressa writes are the same model to llama.cpp as they are to Compressa. */
export const claim: Claim = {
  name: 'GGUF in llama.cpp',
  async measure(gpu) {
    const folder = await mkdtemp(join(tmpdir(), 'compressa-gguf-'));
    const tokens = await readFile(`${SAMPLE_MODEL}/validation.tokens.u16`);
    const windows = cutWindows(new Uint16Array(tokens.buffer, tokens.byteOffset, tokens.byteLength / 2), {
      windows: WINDOWS,
    });
    const measurements: Measurement[] = [];
    try {
      for (const format of FORMATS) {
        const path = join(folder, `${format}.gguf`);
        await compress(await nodeFolder(SAMPLE_MODEL), await nodeFileSink(path), { gpu, format });
        const ours = await ourOpinion(gpu, path, windows);
        const llama = await openLlama(path, 512);
        if (typeof llama === 'string') {
          measurements.push({ claim: format, threshold: 'llama.cpp is there', measured: llama, pass: false });
          break;
        }
        measurements.push(...compare(format, ours, await theirOpinion(llama, ours.prompt, windows)));
        await llama.close();
      }
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
    return measurements;
  },
};

async function ourOpinion(gpu: Gpu, path: string, windows: readonly Uint32Array[]): Promise<Opinion> {
  const model = await openModel(await openPath(path), { gpu });
  try {
    const { decoder } = model;
    const { perplexity } = await scoreWindows(decoder, decoder, windows);
    decoder.rewind();
    const prompt = model.tokenizer!.encode(PROMPT);
    const { logits } = await decoder.forward(prompt);
    const bytes = await gpu.readBack(logits.buffer, 0, prompt.length * model.graph.vocabulary * 4);
    const last = new Float32Array(bytes.buffer).subarray(-model.graph.vocabulary);
    const top = last.reduce((a, b) => Math.max(a, b));
    const exponentials = Array.from(last, (logit) => Math.exp(logit - top));
    const sum = exponentials.reduce((a, b) => a + b);
    return { perplexity: perplexity.original, prompt, next: exponentials.map((each) => each / sum) };
  } finally {
    await model.close();
  }
}

async function theirOpinion(
  llama: LlamaModel,
  prompt: readonly number[],
  windows: readonly Uint32Array[],
): Promise<Opinion> {
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
  return { perplexity: Math.exp(loss / count), prompt: llama.tokenize(PROMPT), next };
}

function compare(format: string, ours: Opinion, theirs: Opinion): Measurement[] {
  const deviation = Math.abs(ours.perplexity / theirs.perplexity - 1);
  const best = Array.from(theirs.next, (_, id) => id)
    .sort((a, b) => theirs.next[b]! - theirs.next[a]!)
    .slice(0, TOP);
  const worst = Math.max(...best.map((id) => Math.abs(ours.next[id]! / theirs.next[id]! - 1)));
  return [
    {
      claim: `${format}: perplexity over ${WINDOWS} windows`,
      threshold: "within 0.5% of llama.cpp's",
      measured: `${ours.perplexity.toFixed(4)} against ${theirs.perplexity.toFixed(4)}, off by ${(100 * deviation).toFixed(3)}%`,
      pass: deviation <= 0.005,
    },
    {
      claim: `${format}: probabilities of the ${TOP} likeliest tokens after a prompt`,
      threshold: 'within 1e-2, relative',
      measured: worst.toExponential(2),
      pass: worst <= 1e-2,
    },
    {
      claim: `${format}: tokens of the prompt`,
      threshold: 'the same',
      measured: `${ours.prompt.join(' ')} and ${theirs.prompt.join(' ')}`,
      pass: String(ours.prompt) === String(theirs.prompt),
    },
  ];
}
