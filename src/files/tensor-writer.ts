import { ArgumentError } from '../errors.ts';
import type { ByteSink } from './sink.ts';
import { quote } from './text.ts';

/** Writes the data of the announced tensors, in their order, in pieces of any size. */
export interface TensorWriter {
  /** Appends bytes of tensor `name`, which must be the next one whose data is not complete. */
  write(name: string, bytes: Uint8Array): Promise<void>;
  /** Takes tensor `name`, the next one, for written: its bytes are in the sink, which has to have `skip`. */
  skip(name: string): Promise<void>;
  /** Checks that every tensor is complete and commits the sink. */
  finish(): Promise<void>;
  /** Aborts the sink. */
  abort(): Promise<void>;
}

/** The data section of a container: `padding` bytes of zeros follow each tensor. */
export function tensorWriter(
  sink: ByteSink,
  names: readonly string[],
  lengths: readonly number[],
  padding: (length: number) => number = () => 0,
): TensorWriter {
  let index = 0;
  let written = 0;
  // Tensors without data are complete as they stand.
  const skipComplete = async (): Promise<void> => {
    while (index < names.length && written === lengths[index]) {
      const zeros = padding(written);
      if (zeros > 0) await sink.write(new Uint8Array(zeros));
      index++;
      written = 0;
    }
  };
  /** Moves on to tensor `name`, which has to be the one whose turn it is. */
  const begin = async (name: string): Promise<void> => {
    await skipComplete();
    const expected = names[index];
    if (name === expected) return;
    const next = expected === undefined ? 'all tensors are complete' : `${quote(expected)} comes next`;
    throw new ArgumentError(`${sink.name}: data for tensor ${quote(name)}, but ${next}.`);
  };
  return {
    async skip(name) {
      await begin(name);
      if (!sink.skip || written > 0) {
        throw new ArgumentError(`${sink.name}: tensor ${quote(name)} can't be passed over here.`);
      }
      written = lengths[index]!;
      sink.skip(written);
    },
    async write(name, bytes) {
      if (bytes.byteLength === 0) return;
      await begin(name);
      const length = lengths[index]!;
      if (written + bytes.byteLength > length) {
        throw new ArgumentError(
          `${sink.name}: tensor ${quote(name)} takes ${length} bytes; ${written + bytes.byteLength} came.`,
        );
      }
      written += bytes.byteLength;
      await sink.write(bytes);
    },
    async finish() {
      await skipComplete();
      if (index < names.length) {
        throw new ArgumentError(
          `${sink.name}: tensor ${quote(names[index]!)} has ${written} of its ${lengths[index]} bytes.`,
        );
      }
      await sink.commit();
    },
    abort: () => sink.abort(),
  };
}
