import { CancelledError } from '../../errors.ts';
import { openCheckpoint } from '../../files/checkpoint.ts';
import type { ModelFiles } from '../../files/model-files.ts';
import { type TensorSpec, writeSafetensors } from '../../files/safetensors-write.ts';
import type { ByteSink } from '../../files/sink.ts';
import type { ByteSource } from '../../files/source.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import { checkpointSource } from '../load-weights.ts';
import { graphOfCheckpoint } from '../plan.ts';
import { checkWeight } from '../stored-weight.ts';
import { type Calibration, checkCalibration } from './calibration.ts';
import { checkFiniteColumns } from './finite-columns.ts';
import { inputGroups } from './input-groups.ts';
import { STATISTICS_KEY, type StatisticsHeader } from './statistics-schema.ts';
import { walkInputs } from './walk.ts';

/** How to gather statistics. */
export interface CalibrateOptions {
  readonly gpu: Gpu;
  readonly calibration: Pick<Calibration, 'windows'>;
  readonly signal?: AbortSignal;
  /** Called as windows have gone through pieces of the model. */
  readonly onProgress?: (done: number, total: number) => void;
}

const WHAT = 'The calibration';

/**
 * Runs a model over windows of tokens and writes what the inputs of its matrices were like into a safetensors file (`StatisticsSchema`), an input at a
 * time. `readStatistics` reads it, for compressions that need not run the model again. A `ByteSource` is closed; where it fails, `sink` is aborted.
 * @throws ModelError for bare tensors; ArgumentError for windows that can't be run; FileError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function calibrate(
  source: ModelFiles | ByteSource,
  sink: ByteSink,
  { gpu, calibration, signal, onProgress }: CalibrateOptions,
): Promise<StatisticsHeader> {
  try {
    const checkpoint = await openCheckpoint(source, { checkWeight, ...(signal && { signal }) });
    try {
      const graph = graphOfCheckpoint(checkpoint, true)!;
      const { windows } = calibration;
      checkCalibration(calibration, graph.vocabulary, graph.maxPositions);
      const groups = inputGroups(graph);
      const header: StatisticsHeader = {
        version: 1,
        tokens: windows.length * windows[0]!.length,
        inputs: groups.map(({ input, k, weights }) => ({ input, k, weights: [...weights] })),
      };
      const fits = (k: number) => 4 * k * k <= gpu.bindingLimit;
      const specs = groups.flatMap(({ input, k }): TensorSpec[] => [
        ...COLUMNS.map(([name]): TensorSpec => ({ name: `${input}.${name}`, type: 'F32', shape: [k] })),
        ...(fits(k) ? [{ name: `${input}.hessian`, type: 'F32', shape: [k, k] } as const] : []),
      ]);
      const writer = await writeSafetensors(sink, specs, { [STATISTICS_KEY]: JSON.stringify(header) });
      await walkInputs({
        ...{ gpu, graph, windows, source: checkpointSource(gpu, checkpoint, signal), wanted: () => true },
        visit: async ({ input, k }, statistics) => {
          const columns = await statistics.columns();
          checkFiniteColumns(columns.meanSquare, `The values of ${input}`);
          for (const [name, of] of COLUMNS) await writer.write(`${input}.${name}`, bytesOf(columns[of]));
          const { hessian } = statistics;
          if (hessian) await writer.write(`${input}.hessian`, await gpu.readBack(hessian.buffer, 0, 4 * k * k));
          return new Map();
        },
        ...(signal && { signal }),
        ...(onProgress && { onWindow: onProgress }),
      });
      await writer.finish();
      return header;
    } finally {
      await checkpoint.close();
    }
  } catch (error) {
    await sink.abort();
    throw signal?.aborted || error instanceof CancelledError ? new CancelledError(WHAT, 'nothing was written') : error;
  }
}

/** Names in the file, and in `ColumnStatistics`. */
export const COLUMNS = [
  ['mean_abs', 'meanAbs'],
  ['mean_square', 'meanSquare'],
  ['abs_max', 'absMax'],
] as const;

const bytesOf = (values: Float32Array): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
