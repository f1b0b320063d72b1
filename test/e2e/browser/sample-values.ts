/** The same bits in every engine, unlike those of `Math.sin`. */
export const sampleValues = (count: number): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: count }, (_, i) => ((i * 7919) % 1013) / 1013 - 0.5);
