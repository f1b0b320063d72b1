import { expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import type { ResumableSink } from '../../../src/files/sink.ts';
import { sha256Text } from '../../../src/passes/hash.ts';
import { PART_BYTES, recordedSink } from '../../../src/passes/recorded-sink.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A file that remembers in which order it was written and flushed. */
function file() {
  const log: string[] = [];
  const sink: ResumableSink = {
    name: 'file',
    size: 0,
    read: async () => new Uint8Array(0),
    truncate: async () => undefined,
    write: async (piece) =>
      void log.push(piece.byteLength > 20 ? `${piece.byteLength}` : new TextDecoder().decode(piece)),
    flush: async () => void log.push('flush'),
    commit: async () => undefined,
    abort: async () => undefined,
  };
  return { log, sink };
}

test('bytes that are there are not written again, whether they come or are skipped', async () => {
  const { log, sink } = file();
  const recorded = recordedSink(sink, 9);
  await recorded.write(bytes('head'));
  recorded.skip(3);
  // Two more are there; the rest is new.
  await recorded.write(bytes('abcd'));
  await recorded.write(bytes('ef'));
  expect(log).toEqual(['cd', 'ef']);
  expect(await recorded.takeParts()).toEqual([
    [2, await sha256Text('cd')],
    [2, await sha256Text('ef')],
  ]);
  // What is told is on the disk.
  expect(log.at(-1)).toBe('flush');
  expect(await recorded.takeParts()).toEqual([]);
});

test('more than is there can not be skipped', () => {
  expect(() => recordedSink(file().sink, 9).skip(10)).toThrow(ArgumentError);
});

test('what is hashed at a time is bounded', async () => {
  const { log, sink } = file();
  const recorded = recordedSink(sink, 0);
  await recorded.write(new Uint8Array(2 * PART_BYTES + 30));
  expect(log).toEqual([`${PART_BYTES}`, `${PART_BYTES}`, '30']);
  expect((await recorded.takeParts()).map(([length]) => length)).toEqual([PART_BYTES, PART_BYTES, 30]);
});
