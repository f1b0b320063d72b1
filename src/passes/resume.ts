import type { Resumable } from '../files/sink.ts';
import type { Job } from './job.ts';
import { recordOf, resumeJob } from './job-journal.ts';
import type { PlannedTensor } from './plan.ts';
import { type RecordedSink, recordedSink } from './recorded-sink.ts';
import type { SaturatedCounts } from './saturation.ts';
import type { TensorOutput } from './tensor-output.ts';
import { filesOutput, type WeightFile } from './weight-files.ts';

/** An output that goes on where an earlier run of the same job ended. */
export interface ResumedOutput extends TensorOutput {
  /** Tensors that are written already: to be passed over. */
  readonly done: readonly PlannedTensor[];
}

/**
 * Each tensor that ends is put on the disk and then into the journal, so that what the journal says is there.
 * @param name what messages call the output
 * @param saturated what is cut off: of tensors that are done it is told here, of others it is taken from there
 * @throws FileError where the earlier run did another job
 */
export async function resumedOutput(
  name: string,
  resumable: Resumable,
  job: Job,
  files: readonly WeightFile[],
  saturated: SaturatedCounts,
  signal?: AbortSignal,
): Promise<ResumedOutput> {
  const left = await resumeJob(name, resumable, job, files, signal);
  for (const [tensor, count] of left.saturated) saturated.set(tensor, count);
  const filled = files.flatMap((file) => file.tensors.filter(({ report }) => report.bytesBefore > 0));
  let current: RecordedSink | undefined;
  const output = filesOutput(files, async (file) => {
    const found = left.files.get(file);
    const sink = found?.sink ?? (await resumable.reopen(file));
    if (!found) await sink.truncate(0);
    current = recordedSink(sink, found?.bytes ?? 0);
    return current;
  });
  return {
    ...output,
    done: filled.slice(0, left.tensors),
    async write(tensor, arrays, rows, last) {
      await output.write(tensor, arrays, rows, last);
      if (last)
        await resumable.journal.append(recordOf(tensor, await current!.takeParts(), saturated.get(tensor.name)));
    },
  };
}
