// ONNX models of products that follow each other, made in memory. `npm run peers` installs the encoder of protocol buffers.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** Numbers of `TensorProto.DataType`. */
const TYPES = { float: 1, uint8: 2, int64: 7 } as const;
const INT_ATTRIBUTE = 2;
const EXTERNAL = 1;

/** An f32 matrix for `MatMul`: [k, n], which is what the operator takes. */
export interface OnnxDense {
  readonly kind: 'dense';
  readonly values: Float32Array;
}

/** A matrix for `MatMulNBits`, in blocks of weights of one row; w = scale · (code − 2^(bits − 1)). */
export interface OnnxBlocks {
  readonly kind: 'blocks';
  readonly bits: 4 | 8;
  readonly block: number;
  /** [n, k / block, block · bits / 8], low nibble first. */
  readonly codes: Uint8Array;
  /** [n, k / block] */
  readonly scales: Float32Array;
}

export type OnnxWeight = OnnxDense | OnnxBlocks;

/** What the graph is besides its weights. */
export interface OnnxChain {
  /** Rows of the input. */
  readonly tokens: number;
  /** Rows and columns of every weight. */
  readonly size: number;
  /** Of `MatMulNBits`: 0 leaves activations as they are, 4 allows int8. */
  readonly accuracy?: 0 | 4;
}

export interface OnnxModel {
  readonly bytes: Uint8Array;
  /** The weights, which are apart from the model: by the path that it names them by. */
  readonly externalData: readonly { readonly path: string; readonly data: Uint8Array }[];
}

interface Encoder {
  encode(model: object): { finish(): Uint8Array };
}

interface Node {
  readonly name: string;
  readonly opType: string;
  readonly input: readonly string[];
  readonly output: readonly string[];
  readonly domain?: string;
  readonly attribute?: readonly { name: string; i: number; type: number }[];
}

export interface OnnxEncoder {
  /** f32 `x` [tokens, size] times all weights, one after another: `y`; and `done`, one value of `y`, which is there when all is done. */
  products(weights: readonly OnnxWeight[], chain: OnnxChain): OnnxModel;
  /** `y` is `x`, both f32 of these dimensions: takes values to the device. */
  copy(dims: readonly number[]): OnnxModel;
}

/** Makes models, or says what to do about the encoder's absence. */
export function openOnnxEncoder(): OnnxEncoder | string {
  let protobuf: { loadSync(file: string): { lookupType(name: string): Encoder } };
  try {
    protobuf = createRequire(import.meta.url)('protobufjs');
  } catch (error) {
    return `protobufjs is not installed: npm run peers (${(error as Error).message.split('\n')[0]})`;
  }
  const schema = protobuf.loadSync(fileURLToPath(new URL('./onnx.proto', import.meta.url)));
  const type = schema.lookupType('onnx.ModelProto');
  return {
    products(weights, chain) {
      const { graph, externalData } = productsGraph(weights, chain);
      return { bytes: encode(type, graph), externalData };
    },
    copy(dims) {
      const node: Node[] = [{ name: 'copy', opType: 'Identity', input: ['x'], output: ['y'] }];
      return {
        bytes: encode(type, { node, input: [floats('x', dims)], output: [floats('y', dims)] }),
        externalData: [],
      };
    },
  };
}

const encode = (type: Encoder, graph: object): Uint8Array =>
  type
    .encode({
      irVersion: 10,
      producerName: 'compressa-bench',
      opsetImport: [
        { domain: '', version: 21 },
        { domain: 'com.microsoft', version: 1 },
      ],
      graph: { name: 'products', ...graph },
    })
    .finish();

const floats = (name: string, dims: readonly number[]) => ({
  name,
  type: { tensorType: { elemType: TYPES.float, shape: { dim: dims.map((dimValue) => ({ dimValue })) } } },
});

function productsGraph(weights: readonly OnnxWeight[], chain: OnnxChain) {
  const { tokens, size } = chain;
  const externalData: { path: string; data: Uint8Array }[] = [];
  const initializer: object[] = [];
  const external = (name: string, type: number, dims: readonly number[], values: Uint8Array | Float32Array) => {
    const data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    externalData.push({ path: name, data });
    initializer.push({
      name,
      dims,
      dataType: type,
      dataLocation: EXTERNAL,
      externalData: [
        { key: 'location', value: name },
        { key: 'offset', value: '0' },
        { key: 'length', value: String(data.byteLength) },
      ],
    });
  };
  const node: Node[] = weights.map((weight, i) => {
    const value = i === 0 ? 'x' : `value${i}`;
    const output = [i === weights.length - 1 ? 'y' : `value${i + 1}`];
    const name = `product${i}`;
    if (weight.kind === 'dense') {
      external(`weight${i}`, TYPES.float, [size, size], weight.values);
      return { name, opType: 'MatMul', input: [value, `weight${i}`], output };
    }
    const { bits, block } = weight;
    external(`codes${i}`, TYPES.uint8, [size, size / block, (block * bits) / 8], weight.codes);
    external(`scales${i}`, TYPES.float, [size * (size / block)], weight.scales);
    const attributes = { K: size, N: size, bits, block_size: block, accuracy_level: chain.accuracy ?? 0 };
    return {
      name,
      opType: 'MatMulNBits',
      domain: 'com.microsoft',
      input: [value, `codes${i}`, `scales${i}`],
      output,
      attribute: Object.entries(attributes).map(([key, i]) => ({ name: key, i, type: INT_ATTRIBUTE })),
    };
  });
  for (const [name, value] of [
    ['from', 0],
    ['to', 1],
  ] as const) {
    const rawData = new Uint8Array(BigInt64Array.of(BigInt(value), BigInt(value)).buffer);
    initializer.push({ name, dims: [2], dataType: TYPES.int64, rawData });
  }
  node.push({ name: 'last', opType: 'Slice', input: ['y', 'from', 'to'], output: ['done'] });
  const input = [floats('x', [tokens, size])];
  const output = [floats('y', [tokens, size]), floats('done', [1, 1])];
  return { graph: { node, initializer, input, output }, externalData };
}
