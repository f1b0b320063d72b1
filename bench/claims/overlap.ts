import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compress, type Gpu, nodeFileSink, openPath, type Stage, type TimelineSpan } from 'compressa';
import type { Claim, Measurement } from '../claim.ts';
import { checkFree, writeRandomF16 } from '../synthetic.ts';

const STAGES: readonly Stage[] = ['read', 'compute', 'write'];
const [TENSORS, ROWS, K] = [15, 8192, 4096];
const BYTES = TENSORS * ROWS * K * 2;
const COLUMNS = 72;

/** Cuts time at every start and end and calls `visit` with the milliseconds between two and the stages at work in them. */
function sweep(
  spans: readonly TimelineSpan[],
  visit: (milliseconds: number, atWork: ReadonlySet<Stage>) => void,
): void {
  const events = spans
    .flatMap(({ stage, start, end }) => [
      { at: start, stage, begins: true },
      { at: end, stage, begins: false },
    ])
    .sort((a, b) => a.at - b.at || Number(a.begins) - Number(b.begins));
  const atWork = new Set<Stage>();
  let last = 0;
  for (const { at, stage, begins } of events) {
    visit(at - last, atWork);
    last = at;
    if (begins) atWork.add(stage);
    else atWork.delete(stage);
  }
}

/** Where each stage was at work: a line each. */
function picture(spans: readonly TimelineSpan[], milliseconds: number): string {
  const column = milliseconds / COLUMNS;
  const lines = STAGES.map((stage) => {
    const busy = new Float64Array(COLUMNS);
    for (const span of spans) {
      if (span.stage !== stage) continue;
      for (let i = Math.floor(span.start / column); i < COLUMNS && i * column < span.end; i++) {
        busy[i]! += (Math.min(span.end, (i + 1) * column) - Math.max(span.start, i * column)) / column;
      }
    }
    return `  ${stage.padEnd(8)}|${Array.from(busy, (share) => (share > 0.5 ? '█' : share > 0 ? '░' : ' ')).join('')}|`;
  });
  return lines.join('\n');
}

const percent = (share: number) => `${(100 * share).toFixed(0)}%`;

async function measured(gpu: Gpu, folder: string, input: string, format: string): Promise<Measurement[]> {
  const spans: TimelineSpan[] = [];
  const output = await nodeFileSink(join(folder, `${format}.safetensors`));
  const onTimeline = (span: TimelineSpan) => spans.push(span);
  const { seconds } = await compress(await openPath(input), output, { gpu, format, onTimeline });
  const wall = 1000 * seconds;
  const sums = { read: 0, compute: 0, write: 0, overlapped: 0, hidden: 0 };
  sweep(spans, (milliseconds, atWork) => {
    for (const stage of atWork) sums[stage] += milliseconds;
    if (atWork.has('compute') || atWork.size >= 2) sums.overlapped += milliseconds;
    if (atWork.size >= 2) for (const stage of atWork) if (stage !== 'compute') sums.hidden += milliseconds;
  });
  const transfer = sums.read + sums.write;
  console.error(`${format}: ${(wall / 1000).toFixed(1)} s, ${(BYTES / wall / 1e6).toFixed(2)} GB/s; busy: ${STAGES.map(
    (stage) => `${stage} ${(sums[stage] / 1000).toFixed(2)} s`,
  ).join(', ')}
${picture(spans, wall)}`);
  return [
    {
      claim: `${format}: share of the wall time in which the GPU stage is at work, or two of the three stages are`,
      threshold: 'at least 70%',
      measured: percent(sums.overlapped / wall),
      pass: sums.overlapped >= 0.7 * wall,
    },
    {
      claim: `${format}: share of the time of reading and writing in which another stage is at work, too`,
      threshold: 'at least 70% (one after the other it would be none)',
      measured: `${percent(sums.hidden / transfer)} of ${(transfer / 1000).toFixed(2)} s`,
      pass: sums.hidden >= 0.7 * transfer,
    },
  ];
}

/**
 * Compressing a file of 1 GB is limited by quantization and by input and output, not by the host between them.
 *
 * Overlap is taken from the library's own timeline: spans in which a stage (reading a chunk; uploading, quantizing and reading it back;
 * writing it) has been started and has not ended. The wall time is all of `compress`, opening, planning and the final flush to
 * the disk included. Time counts as overlapped where the GPU stage is at work or at least two stages are. Since a slow GPU alone
 * would reach that, a second figure asks how much of reading and writing is hidden behind another stage. The input has just been
 * written, so that the system may still have it in memory.
 */
export const claim: Claim = {
  name: 'overlap',
  async measure(gpu) {
    const folder = await mkdtemp(join(tmpdir(), 'compressa-overlap-'));
    try {
      await checkFree(folder, 2 * BYTES);
      const input = join(folder, 'input.safetensors');
      const tensors = Array.from({ length: TENSORS }, (_, i) => ({ name: `layers.${i}.weight`, shape: [ROWS, K] }));
      await writeRandomF16(await nodeFileSink(input), tensors, 1);
      const results: Measurement[] = [];
      for (const format of ['q8_0', 'q4_0']) results.push(...(await measured(gpu, folder, input, format)));
      return results;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};
