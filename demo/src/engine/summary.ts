import { packParams, read, readWrite } from '../../../src/gpu/kernel.ts';
import type { BufferView, Checkpoint, Gpu, Step } from '../../../src/index.ts';
import summarySource from '../../shaders/summary.wgsl';
import { readDense, rowsTogether } from './dense-tensor.ts';
import type { TensorEntry } from './network.ts';

/** What the map shows of a tensor. */
export interface Summary {
  /** The largest |w|. */
  readonly largest: number;
  /** √ mean w² */
  readonly rms: number;
  /** Share of weights that are zero. */
  readonly zeros: number;
}

const GROUPS = 64;

export function summaryStep(weights: BufferView, count: number, parts: BufferView): Step {
  return {
    label: 'summary',
    kernel: { source: summarySource },
    bindings: [read({ ...weights, size: 4 * count }), readWrite({ ...parts, size: 16 * GROUPS })],
    params: packParams(count),
    grid: [GROUPS, 1, 1],
  };
}

export const SUMMARY_BYTES = 16 * GROUPS;

/** The parts that `summaryStep` wrote, of one tensor or of its slices. */
export function joinSummary(parts: Float32Array, count: number): Summary {
  let [largest, squares, zeros] = [0, 0, 0];
  for (let i = 0; i < parts.length; i += 4) {
    largest = Math.max(largest, parts[i]!);
    squares += parts[i + 1]!;
    zeros += parts[i + 2]!;
  }
  return { largest, rms: Math.sqrt(squares / count), zeros: zeros / count };
}

/** Slices of the map's figures are small, so that the page stays free for what one looks at. */
const SLICE_BYTES = 16 * 1024 * 1024;

/**
 * Figures of a whole tensor, some rows at a time.
 * @throws as `readDense`, CancelledError
 */
export async function summarize(
  gpu: Gpu,
  checkpoint: Checkpoint,
  entry: TensorEntry,
  signal: AbortSignal,
): Promise<Summary> {
  const { rows, k } = entry;
  const most = Math.max(1, rowsTogether(gpu, k, SLICE_BYTES));
  const room = gpu.memory.allocate(4 * Math.min(rows, most) * k, entry.name);
  const parts = gpu.memory.allocate(SUMMARY_BYTES, 'summary');
  const found: number[] = [];
  try {
    for (let start = 0; start < rows; start += most) {
      signal.throwIfAborted();
      const count = Math.min(most, rows - start);
      await readDense(gpu, checkpoint, entry, { start, count }, { buffer: room }, signal);
      await gpu.scheduler.run([summaryStep({ buffer: room }, count * k, { buffer: parts })]);
      found.push(...new Float32Array((await gpu.readBack(parts, 0, SUMMARY_BYTES)).buffer));
    }
    return joinSummary(Float32Array.from(found), rows * k);
  } finally {
    gpu.memory.release(room);
    gpu.memory.release(parts);
  }
}
