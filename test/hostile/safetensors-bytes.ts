// Builds safetensors files byte by byte, right or wrong: nothing of it is Compressa's.

/** A file with the header `json` (bytes or text), `data` bytes of zeros after it, and a length field that may lie. */
export function craft(json: string | Uint8Array, data = 0, length?: bigint): Uint8Array {
  const header = typeof json === 'string' ? new TextEncoder().encode(json) : json;
  const file = new Uint8Array(8 + header.length + data);
  new DataView(file.buffer).setBigUint64(0, length ?? BigInt(header.length), true);
  file.set(header, 8);
  return file;
}

/** What the header says of a tensor. */
export const entry = (dtype: unknown, shape: unknown, data_offsets: unknown, more: object = {}): object => ({
  dtype,
  shape,
  data_offsets,
  ...more,
});

/** A file with this header. */
export const file = (header: object, data = 0): Uint8Array => craft(JSON.stringify(header), data);

/** A sound file of tensors of U8 or another type, one after the other. */
export function sound(
  tensors: Readonly<Record<string, readonly [dtype: string, shape: readonly number[], bytes: number]>>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const header: Record<string, object> = { __metadata__: metadata };
  let at = 0;
  for (const [name, [dtype, shape, bytes]] of Object.entries(tensors)) {
    header[name] = entry(dtype, shape, [at, at + bytes]);
    at += bytes;
  }
  return file(header, at);
}
