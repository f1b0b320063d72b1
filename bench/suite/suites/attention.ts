import { Scratch } from '../../../src/gpu/scratch.ts';
import { attention } from '../../../src/graph/reference/attention.ts';
import { randomUniform } from '../../../src/graph/reference/random.ts';
import { attentionRoomBytes, attentionSteps } from '../../../src/kernels/attention.ts';
import { attentionVariantsFor, usualAttentionVariant } from '../../../src/kernels/attention-variants.ts';
import { stateWords } from '../../../src/kernels/state.ts';
import { withBuffers } from '../buffers.ts';
import { chainLength } from '../chain.ts';
import type { AttentionWork, Contestant, Traffic } from '../contestant.ts';
import { MODEL_SHAPES } from '../model-shapes.ts';
import { OURS } from '../names.ts';
import { freshOutput, recorded } from '../recorded.ts';
import type { Case, OpenCase, Suite, SuiteContext } from '../suite.ts';
import { uniform } from './linear.ts';

/** Without subgroups and with positions that threads share: what any GPU can. */
const OTHER = 'split-1-8';

type Size = keyof typeof MODEL_SHAPES;

interface Shape {
  readonly tokens: number;
  readonly past: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** Attention of one layer: `tokens` behind `past` others. */
export function attentionCase(size: Size, tokens: number, past: number): Case {
  const { heads, kvHeads, headDim } = MODEL_SHAPES[size];
  const shape: Shape = { tokens, past, heads, kvHeads, headDim };
  const seen = tokens * past + (tokens * (tokens + 1)) / 2;
  const traffic: Traffic = {
    bytes: 4 * (2 * tokens * heads * headDim + 2 * (past + tokens) * kvHeads * headDim),
    operations: 4 * seen * heads * headDim,
  };
  return {
    suite: 'attention',
    name: `${size} ${tokens === 1 ? `decode behind ${past}` : `prefill ${tokens}`}`,
    dimensions: { model: size, ...shape },
    ...traffic,
    items: { unit: 'tokens', count: tokens },
    baseline: `our ${OTHER}`,
    open: (context) => withBuffers(context.gpu, (buffers) => openAttention(context, buffers, shape, traffic)),
  };
}

async function openAttention(
  context: SuiteContext,
  buffers: Scratch,
  shape: Shape,
  traffic: Traffic,
): Promise<OpenCase> {
  const { gpu } = context;
  const { tokens, past, heads, kvHeads, headDim } = shape;
  const [width, kvWidth, positions] = [heads * headDim, kvHeads * headDim, past + tokens];
  const work: AttentionWork = {
    ...{ kind: 'attention', ...shape, count: chainLength(traffic, context) },
    q: uniform(1, tokens * width),
    keys: uniform(2, positions * kvWidth),
    values: uniform(3, positions * kvWidth),
  };
  const scale = 1 / Math.sqrt(headDim);
  const out = buffers.room(4 * tokens * width, 'out');
  const cache = {
    ...({ type: 'f32', kvHeads, headDim, maxPositions: positions } as const),
    ...{ k: buffers.upload(work.keys, 'keys'), v: buffers.upload(work.values, 'values') },
  };
  const sizes = { ...shape, maxPositions: positions };
  const shared = {
    ...{ q: buffers.upload(work.q, 'q'), cache, state: buffers.upload(stateWords(past), 'state') },
    ...{ out, tokens, heads, scale },
  };
  const contestant = (name: string, note: string, variant: string): Contestant => ({
    name,
    note,
    async prepare() {
      const bytes = attentionRoomBytes(variant, sizes);
      const room = new Scratch(gpu);
      const steps = attentionSteps({ ...shared, variant, ...(bytes > 0 && { room: room.room(bytes, 'shares') }) });
      return recorded(gpu, [Array.from({ length: work.count }, () => steps).flat()], {
        check: () => freshOutput(gpu, steps, out.buffer, tokens * width),
        release: () => room.release(),
      });
    },
  });
  const need = { kind: 'attention', tokens, heads, kvHeads, headDim, positions, cache: 'f32' } as const;
  await context.tuner?.prepare([need]);
  const ours = context.tuner?.attention(need) ?? usualAttentionVariant(gpu, sizes);
  // Positions are shared out where tokens are few: with many, a share of each token's is room and time for nothing.
  const others = attentionVariantsFor(gpu).filter(
    ({ name, splits }) => name !== ours && (name === OTHER || (!context.quick && (splits === 1 || tokens === 1))),
  );
  return {
    work,
    contestants: [
      contestant(OURS, `the variant that a decoder takes on this device: ${ours}; keys and values in f32`, ours),
      ...others.map(({ name }) => contestant(`our ${name}`, 'a variant that it does not take', name)),
    ],
    reference: { error: (output) => errorOf(output, work, scale), tolerance: 1e-5 },
    release: () => buffers.release(),
  };
}

/** Of a prompt, beside the first and the last: the reference takes long. */
const CHECKED_TOKENS = 6;

/** ‖out − expected‖ / ‖expected‖ over some tokens. */
function errorOf(output: Float32Array, work: AttentionWork, scale: number): number {
  const { tokens, past, heads, kvHeads, headDim, q, keys, values } = work;
  const [width, kvWidth] = [heads * headDim, kvHeads * headDim];
  // What was not written is NaN still.
  if (output.some(Number.isNaN)) return Number.POSITIVE_INFINITY;
  let [difference, size] = [0, 0];
  const spread = Array.from({ length: CHECKED_TOKENS }, (_, i) => Math.floor(randomUniform(2, i) * tokens));
  for (const row of new Set([0, tokens - 1, ...spread])) {
    const end = (past + row + 1) * kvWidth;
    const expected = attention(
      q.subarray(row * width, (row + 1) * width),
      keys.subarray(0, end),
      values.subarray(0, end),
      {
        ...{ heads, kvHeads, headDim, scale },
      },
    );
    for (const [i, value] of expected.entries()) {
      difference += (output[row * width + i]! - value) ** 2;
      size += value ** 2;
    }
  }
  return Math.sqrt(difference / size);
}

/** Attention of one layer, of prompts and of single tokens behind long texts. */
export const attentionSuite: Suite = {
  name: 'attention',
  title: 'Attention',
  cases: ({ quick }) =>
    quick
      ? [attentionCase('1B', 64, 0), attentionCase('1B', 1, 1023)]
      : (['1B', '8B'] as const).flatMap((size) => [
          attentionCase(size, 128, 0),
          attentionCase(size, 512, 0),
          attentionCase(size, 1, 1023),
          attentionCase(size, 1, 4095),
        ]),
};
