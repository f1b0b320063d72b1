import type { Gpu } from '../gpu/gpu.ts';
import { Scratch } from '../gpu/scratch.ts';
import type { AttentionNeed } from '../graph/variant-choice.ts';
import { appendStep, attentionRoomBytes, attentionSteps } from '../kernels/attention.ts';
import { attentionCandidates } from '../kernels/attention-variants.ts';
import { type Cache, cachePositionBytes } from '../kernels/cache.ts';
import { stateWords } from '../kernels/state.ts';
import { kernelVersion } from './kernel-version.ts';
import { type Work, type WorkContext, workInput } from './work.ts';

const shapeOf = ({ positions: maxPositions, kind, cache, ...rest }: AttentionNeed) => ({ ...rest, maxPositions });

/** The variants that compute attention of such heads on this device, the usual one first. */
export const attentionNames = (gpu: Gpu, need: AttentionNeed): string[] => attentionCandidates(gpu, shapeOf(need));

/** What they run: steps over a buffer that is large enough for anything, since nothing runs them. */
export function attentionVersion(gpu: Gpu, need: AttentionNeed): string {
  const any = { buffer: { size: Number.MAX_SAFE_INTEGER } as GPUBuffer };
  const { tokens, heads, kvHeads, headDim, maxPositions } = shapeOf(need);
  const cache: Cache = { type: need.cache, kvHeads, headDim, maxPositions, k: any, v: any };
  const given = { q: any, cache, state: any, out: any, room: any, tokens, heads, scale: 1 };
  return kernelVersion(attentionNames(gpu, need).flatMap((variant) => attentionSteps({ ...given, variant })));
}

/** Attention of the last tokens that the caches hold, over all before them, by the variants that a tuner looks at or by others. @throws OutOfMemoryError */
export async function attentionWork(
  { gpu }: Pick<WorkContext, 'gpu'>,
  need: AttentionNeed,
  variants: readonly string[] = attentionNames(gpu, need),
): Promise<Work> {
  const { heads, kvHeads, headDim, tokens, positions } = need;
  const scratch = new Scratch(gpu);
  try {
    const shape = { type: need.cache, kvHeads, headDim, maxPositions: positions };
    const bytes = positions * cachePositionBytes(shape);
    const cache = { ...shape, k: scratch.room(bytes, 'keys'), v: scratch.room(bytes, 'values') };
    const [k, v] = [2, 3].map((seed) => scratch.upload(workInput(positions * kvHeads * headDim, seed), 'to append'));
    const state = scratch.upload(stateWords(), 'start');
    await gpu.scheduler.run([appendStep({ k: k!, v: v!, state, cache, tokens: positions })]);
    const size = 4 * tokens * heads * headDim;
    const out = { ...scratch.room(size, 'out'), size };
    const most = Math.max(...variants.map((variant) => attentionRoomBytes(variant, shapeOf(need))));
    const given = {
      q: scratch.upload(workInput(tokens * heads * headDim, 1), 'q'),
      cache,
      state: scratch.upload(stateWords(positions - tokens), 'state'),
      ...{ out, tokens, heads, scale: headDim ** -0.5 },
      ...(most > 0 && { room: scratch.room(most, 'shares') }),
    };
    return {
      variants,
      copies: 1,
      out,
      steps: (variant) => attentionSteps({ ...given, variant }),
      release: () => scratch.release(),
    };
  } catch (error) {
    scratch.release();
    throw error;
  }
}
