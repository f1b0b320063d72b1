// From the layouts of our formats to those of ONNX.

/** Ours have eight weights in a word, the first four in its low nibbles; `MatMulNBits` has two consecutive ones in a byte. */
export function consecutiveNibbles(words: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(words.length);
  for (let at = 0; at < words.length; at += 4) {
    for (let half = 0; half < 4; half++) {
      const first = at + 2 * (half & 1);
      const shift = half < 2 ? 0 : 4;
      bytes[at + half] = ((words[first]! >> shift) & 15) | (((words[first + 1]! >> shift) & 15) << 4);
    }
  }
  return bytes;
}

/** [rows, columns] to [columns, rows]. */
export function transpose(values: Float32Array, rows: number, columns: number): Float32Array<ArrayBuffer> {
  const to = new Float32Array(values.length);
  // In tiles: whole rows would fall out of the cache.
  const tile = 64;
  for (let r0 = 0; r0 < rows; r0 += tile) {
    for (let c0 = 0; c0 < columns; c0 += tile) {
      for (let r = r0; r < Math.min(rows, r0 + tile); r++) {
        for (let c = c0; c < Math.min(columns, c0 + tile); c++) to[c * rows + r] = values[r * columns + c]!;
      }
    }
  }
  return to;
}
