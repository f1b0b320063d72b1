import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compress, cutWindows, formats, nodeFileSink, nodeFolder, openModel, openPath } from 'compressa';
import { type Claim, SAMPLE_MODEL } from '../claim.ts';
import { furthest, nextClaim, ourOpinion, perplexityClaim, theirOpinion, theirTokens } from '../gguf-opinions.ts';

const DENSE = 'f16';
const QUANTIZED = ['q8_0', 'q4_0', 'q5_1'];
/** Of all other types of the registry the perplexity is compared. */
const OTHERS = formats.filter(({ codecs, kind, name }) => codecs.ggml && kind === 'block' && !QUANTIZED.includes(name));
const PROMPT = 'My fellow citizens';

/**
 * Files that Compressa writes are the same model to llama.cpp as they are to Compressa. On a CPU llama.cpp rounds activations to 8 bits
 * where weights are quantized, which moves single probabilities by some percent. Perplexities are compared to that; probabilities to
 * llama.cpp on the same quantized file with float activations, which its Vulkan backend computes with without integer products and f16.
 */
export const claim: Claim = {
  name: 'GGUF in llama.cpp',
  async *measure(gpu, takes) {
    const folder = await mkdtemp(join(tmpdir(), 'compressa-gguf-'));
    const bytes = await readFile(`${SAMPLE_MODEL}/validation.tokens.u16`);
    const tokens = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
    const windows = cutWindows(tokens, { windows: 4 });
    try {
      for (const format of [DENSE, ...QUANTIZED, ...OTHERS.map(({ name }) => name)].filter(takes)) {
        const path = join(folder, `${format}.gguf`);
        await compress(await nodeFolder(SAMPLE_MODEL), await nodeFileSink(path), { gpu, format });
        const prompt = await tokensOf(path);
        const ours = await ourOpinion(gpu, path, windows, prompt);
        const theirs = await theirOpinion(path, windows, prompt);
        if (typeof theirs === 'string') {
          yield { claim: format, threshold: 'llama.cpp is there', measured: theirs, pass: false };
          return;
        }
        yield perplexityClaim(format, ours, theirs);
        if (format !== DENSE && !QUANTIZED.includes(format)) continue;
        if (format === DENSE) {
          yield nextClaim(format, ours, theirs);
          const cut = await theirTokens(path, PROMPT);
          yield {
            claim: 'tokens of a prompt',
            threshold: 'the same',
            measured: `${prompt.join(' ')} and ${typeof cut === 'string' ? cut : cut.join(' ')}`,
            pass: String(prompt) === String(cut),
          };
          continue;
        }
        const exact = await theirOpinion(path, [], prompt, 'vulkan');
        if (typeof exact === 'string') {
          yield { claim: format, threshold: 'llama.cpp is there', measured: exact, pass: false };
          return;
        }
        yield nextClaim(`${format}, float activations in llama.cpp`, ours, exact);
        const own = furthest(exact, theirs);
        const far = furthest(ours, theirs);
        yield {
          claim: `${format}: the same, with 8-bit activations in llama.cpp`,
          threshold: 'as far as that is from its own with floats, within 1e-2',
          measured: `${far.toExponential(2)} against ${own.toExponential(2)}`,
          pass: Math.abs(far - own) <= 1e-2,
        };
      }
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
