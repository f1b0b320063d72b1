import { expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import { type ByteSink, memorySink } from '../../../src/files/sink.ts';
import { tensorWriter } from '../../../src/files/tensor-writer.ts';

const names = ['a', 'empty', 'b', 'c'];
const lengths = [3, 0, 2, 1];

/** What a sink is told. */
function logged(): { log: string[]; sink: ByteSink } {
  const log: string[] = [];
  const sink: ByteSink = {
    name: 'file',
    write: async (bytes) => void log.push(`write ${bytes}`),
    skip: (bytes) => void log.push(`skip ${bytes}`),
    commit: async () => void log.push('commit'),
    abort: async () => undefined,
  };
  return { log, sink };
}

test('tensors that are there are passed over, with the padding behind them', async () => {
  const { log, sink } = logged();
  const writer = tensorWriter(sink, names, lengths, (length) => (4 - (length % 4)) % 4);
  await writer.skip('a');
  await writer.skip('b');
  await writer.write('c', Uint8Array.of(7));
  await writer.finish();
  expect(log).toEqual(['skip 3', 'write 0', 'skip 2', 'write 0,0', 'write 7', 'write 0,0,0', 'commit']);
});

test('only the next tensor is passed over, as a whole, in a sink that can', async () => {
  const { sink } = logged();
  const writer = tensorWriter(sink, names, lengths);
  await expect(writer.skip('b')).rejects.toThrow(/"a" comes next/);
  await writer.write('a', Uint8Array.of(1));
  await expect(writer.skip('a')).rejects.toThrow(ArgumentError);
  await expect(tensorWriter(memorySink(), names, lengths).skip('a')).rejects.toThrow(ArgumentError);
});
