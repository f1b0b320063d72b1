import { describe, expect, test } from 'vitest';
import { PIPELINE_DEPTH, runPipeline, type Stages } from '../../../src/passes/pipeline.ts';
import type { Stage } from '../../../src/passes/timeline.ts';

const later = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));
const items = Array.from({ length: 12 }, (_, i) => i);

/** Stages that take a while and write down what they do. */
function bench(milliseconds: Readonly<Record<Stage, number>>) {
  const seen = { busy: 0, mostAtWork: 0, inFlight: 0, mostInFlight: 0, written: [] as string[] };
  const busy = async (stage: Stage) => {
    seen.mostAtWork = Math.max(seen.mostAtWork, ++seen.busy);
    await later(milliseconds[stage]);
    seen.busy--;
  };
  const stages: Stages<number, string, string> = {
    read: async (item) => {
      seen.mostInFlight = Math.max(seen.mostInFlight, ++seen.inFlight);
      await busy('read');
      return `${item}`;
    },
    compute: async (item, read) => {
      await busy('compute');
      return `${item}:${read}`;
    },
    write: async (_, computed) => {
      await busy('write');
      seen.written.push(computed);
      seen.inFlight--;
    },
  };
  return { seen, stages };
}

const SPEEDS: readonly Readonly<Record<Stage, number>>[] = [
  { read: 1, compute: 8, write: 1 },
  { read: 8, compute: 1, write: 1 },
  { read: 1, compute: 1, write: 8 },
  { read: 4, compute: 4, write: 4 },
];

describe.each(SPEEDS)('with stages of %o ms', (milliseconds) => {
  test('everything is written in order, and no more is held than there are stages', async () => {
    const { seen, stages } = bench(milliseconds);
    await runPipeline(items, stages);
    expect(seen.written).toEqual(items.map((item) => `${item}:${item}`));
    expect(seen.mostInFlight).toBeLessThanOrEqual(PIPELINE_DEPTH);
    expect(seen.mostAtWork).toBeGreaterThan(1);
  });
});

test('all three stages are at work at a time', async () => {
  const { seen, stages } = bench({ read: 10, compute: 10, write: 10 });
  await runPipeline(items, stages);
  expect(seen.mostAtWork).toBe(3);
  expect(seen.mostInFlight).toBe(PIPELINE_DEPTH);
});

test('spans say which stage worked on what, one at a time in each', async () => {
  const { stages } = bench({ read: 2, compute: 5, write: 3 });
  const spans: { stage: Stage; name: string; start: number; end: number }[] = [];
  await runPipeline(items, stages, {
    record: (stage, name, start, end) => spans.push({ stage, name, start, end }),
    nameOf: (index) => `item ${index}`,
  });
  for (const stage of ['read', 'compute', 'write'] as const) {
    const mine = spans.filter((span) => span.stage === stage);
    expect(mine.map(({ name }) => name)).toEqual(items.map((item) => `item ${item}`));
    for (const [i, span] of mine.entries()) {
      expect(span.end).toBeGreaterThanOrEqual(span.start);
      if (i > 0) expect(span.start).toBeGreaterThanOrEqual(mine[i - 1]!.end);
    }
  }
});

describe.each(['read', 'compute', 'write'] as const)('an error while it should %s', (stage) => {
  test('is the one that is thrown, once every stage has ended', async () => {
    const { seen, stages } = bench({ read: 3, compute: 3, write: 3 });
    let begun = 0;
    const failing: Stages<number, string, string> = {
      ...stages,
      read: async (item, signal) => {
        begun++;
        if (stage === 'read' && item === 4) throw new Error('broken');
        const read = await stages.read(item, signal);
        // As a source does.
        if (signal.aborted) throw new Error('stopped');
        return read;
      },
      compute: async (item, read, signal) => {
        if (stage === 'compute' && item === 4) throw new Error('broken');
        return stages.compute(item, read, signal);
      },
      write: async (item, computed) => {
        if (stage === 'write' && item === 4) throw new Error('broken');
        return stages.write(item, computed);
      },
    };
    await expect(runPipeline(items, failing)).rejects.toThrow('broken');
    expect(seen.busy).toBe(0);
    expect(begun).toBeLessThanOrEqual(4 + PIPELINE_DEPTH);
    const { length } = seen.written;
    await later(20);
    expect(seen.written).toHaveLength(length);
    expect(seen.written).toEqual(items.slice(0, length).map((item) => `${item}:${item}`));
  });
});

test('a signal ends all stages', async () => {
  const { seen, stages } = bench({ read: 3, compute: 3, write: 3 });
  const controller = new AbortController();
  setTimeout(() => controller.abort(new Error('enough')), 15);
  await expect(runPipeline(items, stages, { signal: controller.signal })).rejects.toThrow('enough');
  expect(seen.busy).toBe(0);
  expect(seen.written.length).toBeLessThan(items.length);
  await expect(runPipeline([], stages, { signal: controller.signal })).rejects.toThrow('enough');
});

test('a stage that is still at work is waited for, where the item behind it fails to be read', async () => {
  const aborted = new AbortController();
  let [begun, atWork] = [0, 0];
  const run = runPipeline(
    items.slice(0, 3),
    {
      read: async (item) => {
        if (item === 2) {
          // The first item is done, and the second is being computed.
          while (begun < 2) await later(1);
          aborted.abort(new Error('enough'));
          throw new Error('not read');
        }
        return item;
      },
      compute: async (item) => {
        begun++;
        atWork++;
        await later(30);
        atWork--;
        return item;
      },
      write: async () => {},
    },
    { signal: aborted.signal },
  );
  await expect(run).rejects.toThrow();
  expect(atWork).toBe(0);
});
