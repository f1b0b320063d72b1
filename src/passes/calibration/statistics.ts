import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import type { WeightName } from '../../graph/graph.ts';
import type { InputGroup } from './input-groups.ts';

/** What the tokens of a calibration were like in each column of an input, f32 [k] each. */
export interface ColumnStatistics {
  /** Mean of |x|. */
  readonly meanAbs: Float32Array;
  /** Mean of x²: the diagonal of H. */
  readonly meanSquare: Float32Array;
  /** Largest |x|. */
  readonly absMax: Float32Array;
  /** Mean of x; undefined where it was not gathered, as in files. */
  readonly mean?: Float32Array;
}

/** Statistics of one input of a graph. */
export interface Statistics {
  /** H = XᵀX / T on the GPU, f32 [k, k]; undefined where it is not known. */
  readonly hessian: BufferView | undefined;
  /** (X₀ − X)ᵀX / T, f32 [k, k], X₀ being the input in the original model; where both were run. */
  readonly cross?: BufferView | undefined;
  /** @throws DeviceLostError */
  columns(): Promise<ColumnStatistics>;
  /** Frees what is on the GPU. */
  release(): void;
}

/** Statistics that were gathered before: of a file, say. */
export interface StatisticsSource {
  readonly name: string;
  /** Only mean squares are known, as in an importance matrix: enough to weigh a search, for nothing else. */
  readonly squaresOnly?: true;
  /** Columns of the input of a matrix; undefined where its statistics are not there. */
  columnsOf(weight: WeightName): number | undefined;
  /** @throws FileError, OutOfMemoryError, CancelledError */
  load(gpu: Gpu, group: InputGroup, signal?: AbortSignal): Promise<Statistics>;
}
