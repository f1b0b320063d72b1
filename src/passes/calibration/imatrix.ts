import { CancelledError, FileError } from '../../errors.ts';
import { openCheckpoint } from '../../files/checkpoint.ts';
import type { Imatrix } from '../../files/gguf/imatrix.ts';
import { writeImatrix } from '../../files/gguf/imatrix-write.ts';
import type { ModelFiles } from '../../files/model-files.ts';
import type { ByteSink } from '../../files/sink.ts';
import type { ByteSource } from '../../files/source.ts';
import { quote } from '../../files/text.ts';
import { checkpointSource } from '../load-weights.ts';
import { graphOfCheckpoint } from '../plan.ts';
import { checkWeight } from '../stored-weight.ts';
import type { CalibrateOptions } from './calibrate.ts';
import { checkCalibration } from './calibration.ts';
import type { StatisticsSource } from './statistics.ts';
import { walkInputs } from './walk.ts';

/** An importance matrix of llama.cpp as statistics: it knows mean squares only, so searches are weighed by it and nothing else is. */
export function imatrixStatistics(name: string, { importance }: Imatrix): StatisticsSource {
  return {
    name,
    squaresOnly: true,
    columnsOf: (weight) => importance.get(weight)?.length,
    async load(_, { weights }) {
      const meanSquare = importance.get(weights[0]!);
      if (!meanSquare) throw new FileError(`${name}: there is nothing of ${quote(weights[0]!)}.`);
      const meanAbs = meanSquare.map(Math.sqrt);
      return { hessian: undefined, columns: async () => ({ meanSquare, meanAbs, absMax: meanAbs }), release: () => {} };
    },
  };
}

/**
 * Runs a model over windows of tokens and writes how large the inputs of its linear matrices are as an importance matrix that llama.cpp reads.
 * A `ByteSource` is closed; where it fails, `sink` is aborted.
 * @param dataset what the file calls the text
 * @throws ModelError for bare tensors; ArgumentError for windows that can't be run; FileError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function calibrateImatrix(
  source: ModelFiles | ByteSource,
  sink: ByteSink,
  { gpu, calibration, signal, onProgress, dataset }: CalibrateOptions & { readonly dataset: string },
): Promise<Imatrix> {
  try {
    const checkpoint = await openCheckpoint(source, { checkWeight, ...(signal && { signal }) });
    try {
      const graph = graphOfCheckpoint(checkpoint, true)!;
      const { windows } = calibration;
      checkCalibration(calibration, graph.vocabulary, graph.maxPositions);
      const linear = new Set(graph.weights.filter(({ role }) => role === 'linear').map(({ name }) => name));
      const importance = new Map<string, Float32Array<ArrayBuffer>>();
      await walkInputs({
        ...{ gpu, graph, windows, source: checkpointSource(gpu, checkpoint, signal), columnsOnly: true },
        wanted: ({ weights }) => weights.some((name) => linear.has(name)),
        visit: async ({ weights }, statistics) => {
          const { meanSquare } = await statistics.columns();
          for (const name of weights) if (linear.has(name)) importance.set(name, meanSquare.slice());
          return new Map();
        },
        ...(signal && { signal }),
        ...(onProgress && { onWindow: onProgress }),
      });
      const imatrix: Imatrix = {
        importance,
        datasets: [dataset],
        chunkCount: windows.length,
        chunkSize: windows[0]!.length,
      };
      await writeImatrix(sink, imatrix);
      return imatrix;
    } finally {
      await checkpoint.close();
    }
  } catch (error) {
    await sink.abort();
    throw signal?.aborted || error instanceof CancelledError
      ? new CancelledError('The calibration', 'nothing was written')
      : error;
  }
}
