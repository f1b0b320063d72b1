// Decoders of other stacks' containers, written from what those say of themselves and from nothing of ours: claims and tests hold what is written to them.

/** A tensor of a safetensors file. */
export interface FileTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** The tensors and the metadata of a safetensors file. */
export function readFile(file: Uint8Array): {
  readonly tensors: ReadonlyMap<string, FileTensor>;
  readonly metadata: Readonly<Record<string, string>>;
} {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const length = Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)));
  const { __metadata__: metadata = {}, ...entries } = header;
  const tensors = new Map<string, FileTensor>();
  for (const [name, entry] of Object.entries(entries)) {
    const {
      dtype,
      shape,
      data_offsets: offsets,
    } = entry as { dtype: string; shape: number[]; data_offsets: [number, number] };
    tensors.set(name, { dtype, shape, bytes: file.slice(8 + length + offsets[0], 8 + length + offsets[1]) });
  }
  return { tensors, metadata };
}

/** A number in a stream of little-endian words: bit `at` of the stream is bit at % 32 of word at / 32. */
function bitsAt(words: Uint32Array, at: number, width: number): number {
  let value = 0;
  for (let bit = 0; bit < width; bit++) {
    const place = at + bit;
    value += ((words[Math.floor(place / 32)]! >>> (place % 32)) & 1) * 2 ** bit;
  }
  return value;
}

const words = ({ bytes }: FileTensor) => new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);

/** Numbers of a tensor of F32, F16 or BF16. */
export function floats({ dtype, bytes }: FileTensor): Float64Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (dtype === 'F32') return Float64Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
  return Float64Array.from({ length: bytes.length / 2 }, (_, i) => {
    const bits = view.getUint16(2 * i, true);
    if (dtype === 'BF16') {
      const wide = new DataView(new ArrayBuffer(4));
      wide.setUint32(0, bits * 65536);
      return wide.getFloat32(0);
    }
    if (dtype !== 'F16') throw new Error(`${dtype} is no type of scales.`);
    const [sign, exponent, fraction] = [bits >>> 15 ? -1 : 1, (bits >>> 10) & 31, bits & 1023];
    if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
  });
}

/** A matrix of pack-quantized, decoded: rows × columns. `bits` is num_bits of its scheme. */
export function decodePackQuantized(
  tensors: ReadonlyMap<string, FileTensor>,
  module: string,
  bits: number,
): Float64Array {
  const packed = tensors.get(`${module}.weight_packed`)!;
  const scale = tensors.get(`${module}.weight_scale`)!;
  const zero = tensors.get(`${module}.weight_zero_point`);
  const shape = new BigInt64Array(tensors.get(`${module}.weight_shape`)!.bytes.buffer);
  const [rows, k] = [Number(shape[0]), Number(shape[1])];
  const groups = scale.shape[1]!;
  const size = k / groups;
  const rowWords = Math.ceil((k * bits) / 32);
  if (packed.dtype !== 'I32' || packed.shape.join() !== `${rows},${rowWords}`)
    throw new Error(`${module}: ${packed.shape}`);
  const columnWords = Math.ceil((rows * bits) / 32);
  if (zero && (zero.dtype !== 'I32' || zero.shape.join() !== `${columnWords},${groups}`)) {
    throw new Error(`${module}: zero points ${zero.shape}`);
  }
  const offset = 2 ** (bits - 1);
  const scales = floats(scale);
  const out = new Float64Array(rows * k);
  const codes = words(packed);
  // Zero points are packed down the rows: a column of words holds those of one group of all rows.
  const zeroWords = zero && words(zero);
  const zeroOf = Array.from({ length: groups }, (_, group) => {
    const column =
      zeroWords && Uint32Array.from({ length: columnWords }, (__, word) => zeroWords[word * groups + group]!);
    return (row: number) => (column ? bitsAt(column, row * bits, bits) - offset : 0);
  });
  for (let row = 0; row < rows; row++) {
    const own = codes.subarray(row * rowWords, (row + 1) * rowWords);
    for (let i = 0; i < k; i++) {
      const group = Math.floor(i / size);
      const value = bitsAt(own, i * bits, bits) - offset;
      out[row * k + i] = scales[row * groups + group]! * (value - zeroOf[group]!(row));
    }
  }
  return out;
}

/** A matrix of MLX's affine quantization, decoded: rows × columns. */
export function decodeMlx(
  tensors: ReadonlyMap<string, FileTensor>,
  module: string,
  { bits, group_size: size }: { readonly bits: number; readonly group_size: number },
): Float64Array {
  const weight = tensors.get(`${module}.weight`)!;
  const scale = tensors.get(`${module}.scales`)!;
  const bias = tensors.get(`${module}.biases`)!;
  const [rows, rowWords] = weight.shape as [number, number];
  const k = (rowWords * 32) / bits;
  const groups = k / size;
  if (weight.dtype !== 'U32' || scale.dtype !== bias.dtype)
    throw new Error(`${module}: ${weight.dtype}, ${bias.dtype}`);
  for (const { shape } of [scale, bias])
    if (shape.join() !== `${rows},${groups}`) throw new Error(`${module}: ${shape}`);
  const [scales, biases] = [floats(scale), floats(bias)];
  const codes = words(weight);
  const out = new Float64Array(rows * k);
  for (let row = 0; row < rows; row++) {
    const own = codes.subarray(row * rowWords, (row + 1) * rowWords);
    for (let i = 0; i < k; i++) {
      const group = row * groups + Math.floor(i / size);
      out[row * k + i] = scales[group]! * bitsAt(own, i * bits, bits) + biases[group]!;
    }
  }
  return out;
}

/** A 4-bit matrix of bitsandbytes, decoded as its `dequantize_4bit` does, each operation rounded to f32: rows × columns. */
export function decodeBitsAndBytes(tensors: ReadonlyMap<string, FileTensor>, module: string): Float32Array {
  const part = (name: string, dtype: string): FileTensor => {
    const tensor = tensors.get(`${module}.weight${name}`);
    if (tensor?.dtype !== dtype)
      throw new Error(`${module}.weight${name}: ${tensor?.dtype ?? 'missing'}, not ${dtype}`);
    return tensor;
  };
  const state = JSON.parse(new TextDecoder().decode(part('.quant_state.bitsandbytes__nf4', 'U8').bytes));
  const { shape, blocksize, nested_blocksize: nestedSize, nested_offset: offset, quant_type: type, dtype } = state;
  if (type !== 'nf4' || !['float32', 'float16', 'bfloat16'].includes(dtype))
    throw new Error(`${module}: ${type}, ${dtype}`);
  const count = shape[0] * shape[1];
  const packed = part('', 'U8');
  if (packed.shape.join() !== `${count / 2},1`) throw new Error(`${module}: ${packed.shape}`);
  const map = floats(part('.quant_map', 'F32'));
  let scales: ArrayLike<number>;
  if (nestedSize === undefined) scales = floats(part('.absmax', 'F32'));
  else {
    const nested = floats(part('.nested_absmax', 'F32'));
    const nestedMap = floats(part('.nested_quant_map', 'F32'));
    const codes = part('.absmax', 'U8').bytes;
    if (nested.length !== Math.ceil(codes.length / nestedSize)) throw new Error(`${module}: ${nested.length}`);
    scales = Float32Array.from(codes, (code, i) =>
      Math.fround(Math.fround(nestedMap[code]! * nested[Math.floor(i / nestedSize)]!) + Math.fround(offset)),
    );
  }
  if (scales.length !== count / blocksize) throw new Error(`${module}: ${scales.length} scales`);
  return Float32Array.from({ length: count }, (_, i) => {
    const byte = packed.bytes[Math.floor(i / 2)]!;
    return map[i % 2 === 0 ? byte >> 4 : byte & 15]! * scales[Math.floor(i / blocksize)]!;
  });
}
