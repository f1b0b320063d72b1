import * as v from 'valibot';
import { FileError } from '../errors.ts';
import { checkCancelled } from '../files/cancel.ts';
import type { Resumable, ResumableSink } from '../files/sink.ts';
import { sha256 } from './hash.ts';
import type { Job } from './job.ts';
import type { PlannedTensor } from './plan.ts';
import { PART_BYTES, type Part } from './recorded-sink.ts';
import type { SaturatedCounts } from './saturation.ts';
import type { WeightFile } from './weight-files.ts';

/** Changes when the same job gives other bytes, or a journal other lines. */
const VERSION = 1;

const count = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(PART_BYTES));
const HeadSchema = v.strictObject({
  compressa: v.literal('journal'),
  version: v.number(),
  job: v.record(v.string(), v.string()),
});
const RecordSchema = v.strictObject({
  tensor: v.string(),
  parts: v.pipe(v.array(v.tuple([count, v.pipe(v.string(), v.hexadecimal(), v.length(64))])), v.minLength(1)),
  saturated: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1))),
});

/** What an earlier run of the same job left that is whole. */
export interface Left {
  /** How many tensors with data are done, from the first on. */
  readonly tensors: number;
  /** The files that hold them, open, each truncated to what is done of it. */
  readonly files: ReadonlyMap<string, { readonly sink: ResumableSink; readonly bytes: number }>;
  /** Of them, what was cut off. */
  readonly saturated: ReadonlyMap<string, number>;
}

/**
 * Looks at what an earlier run left, compares its bytes with the hashes that it wrote down, and drops what does not fit and all that
 * follows. Where there is nothing, begins a journal.
 * @throws FileError that says what differs where the earlier run did another job
 */
export async function resumeJob(
  name: string,
  { journal, reopen }: Resumable,
  job: Job,
  files: readonly WeightFile[],
  signal?: AbortSignal,
): Promise<Left> {
  const saturated: SaturatedCounts = new Map();
  const opened = new Map<string, { sink: ResumableSink; bytes: number }>();
  let done = 0;
  // With the first line alone, nothing is finished: another job may begin.
  if (journal.lines.length <= 1) {
    await journal.keep(0);
    await journal.append(JSON.stringify({ compressa: 'journal', version: VERSION, job }));
  } else {
    checkSame(name, journal.lines[0]!, job);
    const tensors = files.flatMap((file) =>
      file.tensors.filter(({ report }) => report.bytesBefore > 0).map((tensor) => ({ tensor, file: file.file })),
    );
    for (const line of journal.lines.slice(1)) {
      const next = tensors[done];
      const record = next && recordIn(line, next.tensor);
      if (!record) break;
      let file = opened.get(next.file);
      if (!file) opened.set(next.file, (file = { sink: await reopen(next.file), bytes: 0 }));
      const end = await verifiedEnd(file.sink, file.bytes, record.parts, signal);
      if (end === undefined) break;
      file.bytes = end;
      if (record.saturated !== undefined) saturated.set(record.tensor, record.saturated);
      done++;
    }
    await journal.keep(1 + done);
  }
  for (const { sink, bytes } of opened.values()) await sink.truncate(bytes);
  return { tensors: done, files: opened, saturated };
}

/** A finished tensor as a line of the journal. */
export const recordOf = ({ name }: PlannedTensor, parts: readonly Part[], saturated?: number): string =>
  JSON.stringify({ tensor: name, parts, saturated });

function checkSame(name: string, line: string, job: Job): void {
  const head = v.safeParse(HeadSchema, parsed(line));
  const advice = `Give the same options again, or remove ${name}.compressa-partial and ${name}.compressa-journal to start anew.`;
  if (!head.success || head.output.version !== VERSION) {
    throw new FileError(`${name}: the interrupted run left a journal of another version. ${advice}`);
  }
  const before = head.output.job;
  const changed = [...new Set([...Object.keys(job), ...Object.keys(before)])].filter((key) => job[key] !== before[key]);
  if (changed.length === 0) return;
  throw new FileError(`${name}: the interrupted run was another job; different: ${changed.join(', ')}. ${advice}`);
}

function recordIn(line: string, tensor: PlannedTensor): v.InferOutput<typeof RecordSchema> | undefined {
  const record = v.safeParse(RecordSchema, parsed(line));
  return record.success && record.output.tensor === tensor.name ? record.output : undefined;
}

/** Where parts from `start` on end, if that is what the file holds. */
async function verifiedEnd(
  file: ResumableSink,
  start: number,
  parts: readonly Part[],
  signal?: AbortSignal,
): Promise<number | undefined> {
  let at = start;
  for (const [bytes, hash] of parts) {
    checkCancelled(signal);
    if (at + bytes > file.size || (await sha256(await file.read(at, bytes))) !== hash) return undefined;
    at += bytes;
  }
  return at;
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
