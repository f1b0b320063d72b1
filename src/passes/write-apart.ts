import type { Calibration } from './calibration/calibration.ts';
import type { StatisticsSource } from './calibration/statistics.ts';
import { type MatrixLosses, outputFormat } from './compress-matrix.ts';
import type { CompressOptions, CompressProgress } from './compress-options.ts';
import type { PlannedTensor } from './plan.ts';
import type { Prepared } from './prepare.ts';
import { layerPrunings } from './pruning/layer-prunings.ts';
import { modelThresholds } from './pruning/pruned-slices.ts';
import { inRound, PruningRounds } from './pruning/rounds.ts';
import type { TensorOutput } from './tensor-output.ts';
import type { RecordSpan } from './timeline.ts';
import { writeCalibrated } from './write-calibrated.ts';
import { writePruned } from './write-pruned.ts';

/** Of a round that is not the last, masks are left. */
const NOWHERE: TensorOutput = { async write() {}, async skip() {}, async finish() {} };

/** Writes the matrices that are calibrated or pruned; returns what each lost. A module that a page loads only when there are any. */
export async function writeApart(
  { checkpoint, plan, graph }: Prepared,
  writer: TensorOutput,
  inputs: Calibration | StatisticsSource | undefined,
  { gpu, tuner, signal, onProgress }: CompressOptions,
  notice: (text: string) => void,
  record: RecordSpan | undefined,
): Promise<ReadonlyMap<string, MatrixLosses>> {
  const { apart } = plan;
  const sizeOf = (tensors: readonly PlannedTensor[]) =>
    tensors.reduce((sum, { report }) => sum + report.bytesBefore, 0);
  const total = plan.summary.bytesBefore;
  const isShown = ({ name, compensates = name }: PlannedTensor) => plan.calibrated.has(compensates);
  const calibrated = apart.filter(isShown);
  const others = apart.filter((tensor) => !isShown(tensor));
  const rounds = new PruningRounds(calibrated);
  const source = { gpu, checkpoint, rounds, ...(signal && { signal }) };
  const thresholds = await modelThresholds(source, apart, outputFormat);
  const work = {
    ...source,
    writer,
    notice,
    thresholds,
    total,
    ...(onProgress && { onProgress }),
    ...(record && { record }),
  };
  try {
    const losses: [string, MatrixLosses][] = [];
    if (graph && inputs && calibrated.length > 0) {
      const done = total - sizeOf(apart);
      for (; !rounds.isLast; rounds.number++) {
        const inThisRound = new Set(calibrated.filter((tensor) => rounds.roundOf(tensor)).map(({ name }) => name));
        const tensors = calibrated.filter(({ name, compensates = name }) => inThisRound.has(compensates)).map(inRound);
        const name = `round ${rounds.number} of ${rounds.of}`;
        let step = 0;
        const told = ({ tensor }: CompressProgress) =>
          onProgress?.({ done, total, tensor, stage: { name, done: ++step, total: inThisRound.size } });
        const how = { ...work, writer: NOWHERE, notice: () => {}, onProgress: told, tuner, graph, inputs };
        await writeCalibrated({ ...how, tensors, prunings: new Map(), done });
      }
      const prunings = await layerPrunings(source, graph, inputs, calibrated, (step, steps) =>
        onProgress?.({ done, total, tensor: '', stage: { name: 'comparing layers', done: step, total: steps } }),
      );
      losses.push(...(await writeCalibrated({ ...work, tuner, graph, inputs, tensors: calibrated, prunings, done })));
    }
    losses.push(...(await writePruned({ ...work, tensors: others, done: total - sizeOf(others) })));
    return new Map(losses);
  } finally {
    for (const threshold of thresholds.values()) threshold.release();
  }
}
