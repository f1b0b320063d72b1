import { statfs } from 'node:fs/promises';
import { type ByteSink, type TensorSpec, writeSafetensors } from 'compressa';

const BLOCK_BYTES = 16 * 1024 * 1024;

/** Values of f16 whose bits are random but for the exponent: between 0.03 and 0.5, of either sign. Same seed, same values. */
function randomBlock(seed: number): Uint8Array {
  const words = new Uint32Array(BLOCK_BYTES / 4);
  let state = (seed * 2654435761) >>> 0 || 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    // Exponents 10 to 13 of 15: the two high bits of the five are 01, the next is set.
    words[i] = (state & 0x8fff_8fff) | 0x2800_2800;
  }
  return new Uint8Array(words.buffer);
}

/** Writes a safetensors file of F16 tensors whose values are pseudo-random, at the speed of the disk. */
export async function writeRandomF16(
  sink: ByteSink,
  tensors: readonly Omit<TensorSpec, 'type'>[],
  seed: number,
): Promise<void> {
  const specs = tensors.map((tensor): TensorSpec => ({ ...tensor, type: 'F16' }));
  const writer = await writeSafetensors(sink, specs, { format: 'pt' });
  const block = randomBlock(seed);
  for (const [i, { name, shape }] of specs.entries()) {
    const bytes = 2 * shape.reduce((product, size) => product * size, 1);
    // A start of its own, so that no two tensors are the same.
    for (let done = 0, at = (i * 8209 * 2) % BLOCK_BYTES; done < bytes; at = 0) {
      const piece = block.subarray(at, Math.min(BLOCK_BYTES, at + bytes - done));
      await writer.write(name, piece);
      done += piece.byteLength;
    }
  }
  await writer.finish();
}

/** @throws Error where `folder` has less than `bytes` free */
export async function checkFree(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize < bytes) throw new Error(`${folder} has ${bavail * bsize} bytes free; ${bytes} are needed.`);
}
