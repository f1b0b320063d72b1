// NF4 with double quantization, from what bitsandbytes' kernels say (dQuantizeNF4, dQuantize, quantize_4bit) and from nothing of ours.

const f = Math.fround;

/** The tree of comparisons of `dQuantizeNF4`. */
export function nf4Code(x: number): number {
  if (x > f(0.03979014977812767)) {
    if (x > f(0.3893125355243683)) {
      if (x > f(0.6427869200706482)) return x > f(0.8614784181118011) ? 15 : 14;
      return x > f(0.5016634166240692) ? 13 : 12;
    }
    if (x > f(0.2035212516784668)) return x > f(0.2920137718319893) ? 11 : 10;
    return x > f(0.1202552504837513) ? 9 : 8;
  }
  if (x > f(-0.33967943489551544)) {
    if (x > f(-0.13791173323988914)) return x > f(-0.045525018125772476) ? 7 : 6;
    return x > f(-0.23460740596055984) ? 5 : 4;
  }
  if (x > f(-0.6106329262256622)) return x > f(-0.4599952697753906) ? 3 : 2;
  return x > f(-0.8480964004993439) ? 1 : 0;
}

/** The search of `dQuantize` in a sorted map of 256 numbers. */
export function mapCode(map: ArrayLike<number>, x: number): number {
  let [pivot, upper, lower] = [127, 255, 0];
  for (let step = 64; step > 0; step >>= 1) {
    if (x > map[pivot]!) {
      lower = pivot;
      pivot += step;
    } else {
      upper = pivot;
      pivot -= step;
    }
  }
  const value = map[pivot]!;
  if (x > value) return x > f(f(map[upper]! + value) * 0.5) ? upper : pivot;
  return x < f(f(map[lower]! + value) * 0.5) ? lower : pivot;
}

/** Codes of weights in blocks of 64, and the scale of each block. */
export function quantizeNf4(weights: Float32Array): { readonly codes: Uint8Array; readonly absmax: Float32Array } {
  const codes = new Uint8Array(weights.length);
  const absmax = new Float32Array(weights.length / 64);
  for (let block = 0; block < absmax.length; block++) {
    let largest = 0;
    for (let i = 64 * block; i < 64 * block + 64; i++) largest = Math.max(largest, Math.abs(weights[i]!));
    absmax[block] = largest;
    const inverse = f(1 / largest);
    for (let i = 64 * block; i < 64 * block + 64; i++) codes[i] = nf4Code(f(weights[i]! * inverse));
  }
  return { codes, absmax };
}

/** Scales without their mean, which is given, in blocks of 256 in the map. */
export function quantizeScales(
  absmax: Float32Array,
  offset: number,
  map: ArrayLike<number>,
): { readonly codes: Uint8Array; readonly nested: Float32Array } {
  const codes = new Uint8Array(absmax.length);
  const nested = new Float32Array(Math.ceil(absmax.length / 256));
  for (let block = 0; block < nested.length; block++) {
    const own = absmax.subarray(256 * block, 256 * (block + 1)).map((x) => f(x - offset));
    nested[block] = own.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
    const inverse = f(1 / nested[block]!);
    for (const [i, x] of own.entries()) codes[256 * block + i] = mapCode(map, f(x * inverse));
  }
  return { codes, nested };
}
