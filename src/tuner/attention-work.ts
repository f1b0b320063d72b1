import type { Gpu } from '../gpu/gpu.ts';
import { Scratch } from '../gpu/scratch.ts';
import { randomUniform } from '../graph/reference/random.ts';
import type { AttentionNeed } from '../graph/variant-choice.ts';
import { type AttentionVariant, attentionStep, fitsThreadAttention } from '../kernels/attention.ts';
import { stateWords } from '../kernels/state.ts';
import { kernelVersion } from './kernel-version.ts';
import type { Work, WorkContext } from './work.ts';

/** The variants that compute attention of such heads on this device, the usual one first. */
export function attentionNames(gpu: Gpu, { headDim }: AttentionNeed): AttentionVariant[] {
  if (!fitsThreadAttention(headDim)) return ['workgroup'];
  return gpu.description.software ? ['thread', 'workgroup'] : ['workgroup', 'thread'];
}

/** What they run: steps over a buffer that is large enough for anything, since nothing runs them. */
export function attentionVersion(gpu: Gpu, need: AttentionNeed): string {
  const any = { buffer: { size: Number.MAX_SAFE_INTEGER } as GPUBuffer };
  const { positions: maxPositions, ...rest } = need;
  const given = { q: any, kCache: any, vCache: any, state: any, out: any, ...rest, maxPositions, scale: 1 };
  return kernelVersion(attentionNames(gpu, need).map((variant) => attentionStep({ ...given, variant })));
}

/** Attention of the last tokens that the caches hold, over all before them. @throws OutOfMemoryError */
export async function attentionWork({ gpu }: Pick<WorkContext, 'gpu'>, need: AttentionNeed): Promise<Work> {
  const { heads, kvHeads, headDim, tokens, positions } = need;
  const scratch = new Scratch(gpu);
  try {
    const random = (count: number, seed: number) =>
      Float32Array.from({ length: count }, (_, i) => 2 * randomUniform(seed, i) - 1);
    const cached = positions * kvHeads * headDim;
    const size = 4 * tokens * heads * headDim;
    const out = { ...scratch.room(size, 'out'), size };
    const given = {
      q: scratch.upload(random(tokens * heads * headDim, 1), 'q'),
      kCache: scratch.upload(random(cached, 2), 'keys'),
      vCache: scratch.upload(random(cached, 3), 'values'),
      state: scratch.upload(stateWords(positions - tokens), 'state'),
      ...{ out, tokens, heads, kvHeads, headDim, maxPositions: positions, scale: headDim ** -0.5 },
    };
    return {
      variants: attentionNames(gpu, need),
      copies: 1,
      out,
      steps: (variant) => [attentionStep({ ...given, variant: variant as AttentionVariant })],
      release: () => scratch.release(),
    };
  } catch (error) {
    scratch.release();
    throw error;
  }
}
