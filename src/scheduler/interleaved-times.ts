import { checkCancelled } from '../files/cancel.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Recording } from './scheduler.ts';

/**
 * Milliseconds of each of some recordings, submitted in turn, forward and backward, so that what else a device does reaches all of them. A round before the first compiles.
 * @param what is cancelled by the signal
 * @throws CancelledError, DeviceLostError
 */
export async function interleavedTimes(
  gpu: Gpu,
  recordings: readonly Recording[],
  rounds: number,
  what: string,
  signal?: AbortSignal,
): Promise<number[][]> {
  const times: number[][] = recordings.map(() => []);
  for (let round = -1; round < rounds; round++) {
    for (let i = 0; i < recordings.length; i++) {
      checkCancelled(signal, what);
      const at = round % 2 === 0 ? i : recordings.length - 1 - i;
      await gpu.idle();
      const start = performance.now();
      recordings[at]!.submit();
      await gpu.idle();
      // Clocks of browsers may stand still.
      if (round >= 0) times[at]!.push(Math.max(1e-3, performance.now() - start));
    }
  }
  return times;
}
