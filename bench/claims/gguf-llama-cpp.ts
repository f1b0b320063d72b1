import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  compress,
  cutWindows,
  dequantizedWeights,
  graphOf,
  memoryFolder,
  memorySink,
  nodeFileSink,
  nodeFolder,
  openCheckpoint,
  openModel,
  openPath,
  writeSafetensors,
} from 'compressa';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';
import { furthest, nextClaim, ourOpinion, perplexityClaim, theirOpinion, theirTokens } from '../gguf-opinions.ts';

const DENSE = 'f16';
const QUANTIZED = ['q8_0', 'q4_0', 'q5_1'];
const PROMPT = 'My fellow citizens';

/**
 * Files that Compressa writes are the same model to llama.cpp as they are to Compressa. On a CPU llama.cpp also rounds activations
 * to 8 bits where weights are quantized, which moves single probabilities by some percent; so these are compared to
 * llama.cpp with the very values that the quantized file stands for, stored as f32, where it rounds nothing.
 */
export const claim: Claim = {
  name: 'GGUF in llama.cpp',
  async measure(gpu) {
    const folder = await mkdtemp(join(tmpdir(), 'compressa-gguf-'));
    const bytes = await readFile(`${SAMPLE_MODEL}/validation.tokens.u16`);
    const tokens = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
    const windows = cutWindows(tokens, { windows: 4 });
    const measurements: Measurement[] = [];
    try {
      for (const format of [DENSE, ...QUANTIZED]) {
        const path = join(folder, `${format}.gguf`);
        await compress(await nodeFolder(SAMPLE_MODEL), await nodeFileSink(path), { gpu, format });
        const prompt = await tokensOf(path);
        const ours = await ourOpinion(gpu, path, windows, prompt);
        const theirs = await theirOpinion(path, windows, prompt);
        if (typeof theirs === 'string') {
          return [{ claim: format, threshold: 'llama.cpp is there', measured: theirs, pass: false }];
        }
        measurements.push(perplexityClaim(format, ours, theirs));
        if (format === DENSE) {
          measurements.push(nextClaim(format, ours, theirs));
          const cut = await theirTokens(path, PROMPT);
          measurements.push({
            claim: 'tokens of a prompt',
            threshold: 'the same',
            measured: `${prompt.join(' ')} and ${typeof cut === 'string' ? cut : cut.join(' ')}`,
            pass: String(prompt) === String(cut),
          });
          continue;
        }
        const plain = join(folder, `${format}-as-f32.gguf`);
        await compress(await dequantized(path), await nodeFileSink(plain), { gpu, format: 'f32' });
        const exact = await theirOpinion(plain, windows.slice(0, 1), prompt);
        if (typeof exact === 'string') throw new Error(exact);
        measurements.push(nextClaim(`${format}, values as f32 in llama.cpp`, ours, exact));
        const own = furthest(exact, theirs);
        const far = furthest(ours, theirs);
        measurements.push({
          claim: `${format}: the same, with 8-bit activations in llama.cpp`,
          threshold: 'as far as that is from its own f32, within 1e-2',
          measured: `${far.toExponential(2)} against ${own.toExponential(2)}`,
          pass: Math.abs(far - own) <= 1e-2,
        });
      }
      return measurements;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }

    async function tokensOf(path: string): Promise<number[]> {
      const model = await openModel(await openPath(path), { gpu, maxPositions: 16 });
      const prompt = model.tokenizer!.encode(PROMPT);
      await model.close();
      return prompt;
    }
  },
};

/** The model whose weights are the values that a compressed file stands for. */
async function dequantized(path: string) {
  const checkpoint = await openCheckpoint(await openPath(path));
  try {
    const graph = graphOf(checkpoint.config, path);
    const values = await dequantizedWeights(checkpoint, graph);
    const sink = memorySink();
    const specs = graph.weights.map(({ name, shape }) => ({ name, type: 'F32' as const, shape }));
    const writer = await writeSafetensors(sink, specs);
    for (const { name } of graph.weights) {
      const weight = values(name);
      await writer.write(name, new Uint8Array(weight.buffer, weight.byteOffset, weight.byteLength));
    }
    await writer.finish();
    const files: Record<string, Uint8Array> = { 'model.safetensors': sink.bytes() };
    for (const side of ['config.json', 'tokenizer.json', 'tokenizer_config.json']) {
      files[side] = (await checkpoint.fileBytes(side))!;
    }
    return memoryFolder('dequantized', files);
  } finally {
    await checkpoint.close();
  }
}
