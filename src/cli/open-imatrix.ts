import { openCheckpoint } from '../files/checkpoint.ts';
import { readImatrix } from '../files/gguf/imatrix-read.ts';
import { openPath } from '../files/node-files.ts';
import { imatrixStatistics } from '../passes/calibration/imatrix.ts';
import type { StatisticsSource } from '../passes/calibration/statistics.ts';
import { graphOfCheckpoint } from '../passes/plan.ts';
import { checkWeight } from '../passes/stored-weight.ts';
import { openInput } from './node-inputs.ts';

/** An importance matrix for a model. @throws FileError, also for one of another model */
export async function openImatrix(model: string, path: string, signal: AbortSignal): Promise<StatisticsSource> {
  const checkpoint = await openCheckpoint(await openInput(model), { checkWeight, signal });
  try {
    const graph = graphOfCheckpoint(checkpoint, true)!;
    const source = await openPath(path);
    try {
      return imatrixStatistics(path, await readImatrix(source, graph.weights, signal));
    } finally {
      await source.close();
    }
  } finally {
    await checkpoint.close();
  }
}
