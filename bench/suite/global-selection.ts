import type { Gpu } from '../../src/gpu/gpu.ts';
import { Scratch } from '../../src/gpu/scratch.ts';
import { type MaskPattern, maskWords } from '../../src/kernels/mask-pattern.ts';
import { maskedRows, Threshold } from '../../src/passes/pruning/find-mask.ts';
import { random } from '../random.ts';

/** 100 million scores in matrices as a large model has them. */
const MATRICES = 7;
const ROWS = 3500;
const COLUMNS = 4096;
const FRACTION = 0.37;
/** Sizes that weights have: so few that hundreds of them equal the threshold. */
const LEVELS = 2 ** 17;

/** What a selection over all matrices came to. */
export interface GlobalSelection {
  readonly weights: number;
  /** How often each weight was brought to the device. */
  readonly passes: number;
  readonly readBacks: number;
  /** Weights that stay, and how many should. */
  readonly kept: number;
  readonly keep: number;
  /** Bits of the masks that are not those of counting on the host. */
  readonly wrong: number;
}

/**
 * The least of 100 million weights of several matrices, of which one at a time is on the device. Of weights that equal the threshold the first stay.
 */
export async function measureGlobalSelection(gpu: Gpu): Promise<GlobalSelection> {
  const pattern = {
    ...{ kind: 'ranked', rows: 1, columns: 1, scope: 'model', remove: { fraction: FRACTION } },
  } as const satisfies MaskPattern;
  const matrices = Array.from({ length: MATRICES }, (_, i) => {
    const next = random(i + 1);
    return Float32Array.from({ length: ROWS * COLUMNS }, () => (next() < 0.5 ? -1 : 1) * Math.floor(LEVELS * next()));
  });
  const all = MATRICES * ROWS * COLUMNS;
  const size = { rows: ROWS, k: COLUMNS };
  let brought = 0;
  const readBacks = gpu.counters.readBacks;
  /** One after the other, each gone before the next comes. */
  async function* bring() {
    for (const weights of matrices) {
      const scratch = new Scratch(gpu);
      brought += weights.length;
      try {
        yield { view: scratch.upload(weights, 'weights'), ...size };
      } finally {
        scratch.release();
      }
    }
  }
  const threshold = new Threshold(gpu, pattern);
  try {
    await threshold.find(
      matrices.map(() => size),
      bring,
    );
    const scoresRead = gpu.counters.readBacks - readBacks;
    const masks: Uint32Array[] = [];
    for await (const piece of bring()) {
      const scratch = new Scratch(gpu);
      const matrix = maskedRows(gpu, scratch, piece, pattern, undefined);
      await gpu.scheduler.run(threshold.steps(matrix));
      masks.push(new Uint32Array((await gpu.readBack(matrix.mask.buffer, 0, 4 * maskWords(ROWS, COLUMNS))).buffer));
      scratch.release();
    }
    const keep = all - Math.floor(FRACTION * all);
    return { weights: all, passes: brought / all, readBacks: scoresRead, keep, ...compare(matrices, masks) };
  } finally {
    threshold.release();
  }
}

/** Bits that are not what counting sizes says, and bits that are set. */
function compare(matrices: readonly Float32Array[], masks: readonly Uint32Array[]): { wrong: number; kept: number } {
  const counts = new Uint32Array(LEVELS);
  for (const weights of matrices) for (const w of weights) counts[Math.abs(w)]!++;
  const all = MATRICES * ROWS * COLUMNS;
  let ties = all - Math.floor(FRACTION * all);
  let threshold = LEVELS - 1;
  for (; counts[threshold]! < ties; threshold--) ties -= counts[threshold]!;
  const found = { wrong: 0, kept: 0 };
  const words = maskWords(1, COLUMNS);
  for (const [i, weights] of matrices.entries()) {
    for (let at = 0; at < weights.length; at++) {
      const size = Math.abs(weights[at]!);
      const stays = size > threshold || (size === threshold && ties-- > 0);
      const [row, column] = [Math.floor(at / COLUMNS), at % COLUMNS];
      const bit = ((masks[i]![row * words + (column >> 5)]! >>> (column & 31)) & 1) === 1;
      if (bit) found.kept++;
      if (bit !== stays) found.wrong++;
    }
  }
  return found;
}
