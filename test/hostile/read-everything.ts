import type { Checkpoint } from '../../src/files/checkpoint.ts';

const same = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i]);

/**
 * Reads all that an open checkpoint of one file offers, and closes it: the bytes of its tensors.
 * @param content of the file. What is read from a safetensors file has to be what is there.
 * @throws whatever reading throws; a plain Error where what was read is not what the header says
 */
export async function readEverything(checkpoint: Checkpoint, content: Uint8Array): Promise<number> {
  try {
    let total = 0;
    const opaque = [...(checkpoint.opaque?.values() ?? [])].map(({ data }) => data);
    for (const info of [...checkpoint.tensors.values(), ...opaque]) {
      const bytes = await checkpoint.read(info);
      if (bytes.byteLength !== info.byteLength) throw new Error(`${info.name}: ${bytes.byteLength} bytes came.`);
      total += bytes.byteLength;
      if (checkpoint.gguf) continue;
      if (!same(bytes, content.subarray(info.offset, info.offset + info.byteLength))) {
        throw new Error(`${info.name}: other bytes came than are in the file.`);
      }
    }
    if (!checkpoint.gguf) {
      const header = new DataView(content.buffer, content.byteOffset).getBigUint64(0, true);
      if (8 + Number(header) + total !== content.byteLength)
        throw new Error('The file has bytes that belong to nothing.');
    }
    if (total > content.byteLength) throw new Error(`${total} bytes came from a file of ${content.byteLength}.`);
    for (const side of ['config.json', 'tokenizer.json', 'tokenizer_config.json']) await checkpoint.fileBytes(side);
    return total;
  } finally {
    await checkpoint.close();
  }
}
