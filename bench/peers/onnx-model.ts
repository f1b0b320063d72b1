// ONNX models of products, made in memory: in Node (onnx-encoder.ts) and in a page.

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

/** Products with the same input. */
export interface OnnxProducts {
  readonly tokens: number;
  readonly n: number;
  readonly k: number;
  readonly count: number;
  readonly accuracy?: 0 | 4;
  /** With the output `done`, for who has to read something to wait. */
  readonly done?: boolean;
}

export interface OnnxModel {
  readonly bytes: Uint8Array;
  /** Names of the inputs, all of which are to be given the same values, and of the outputs without `done`. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** The weights, which are apart from the model: by the path that it names them by. */
  readonly externalData: readonly { readonly path: string; readonly data: Uint8Array }[];
}

/** A message type of protobufjs: `onnx.ModelProto` of onnx.proto. */
export interface MessageType {
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
  /**
   * `count` times f32 x [tokens, k] times one of the weights, which take turns: `y0`, `y1`, …. Each round of turns has an input of its own, `x0`, `x1`, …: what
   * optimizes the graph would else make one product of those with the same weight.
   */
  independent(weights: readonly OnnxWeight[], products: OnnxProducts): OnnxModel;
  /** An operator of f32 `x` of these dimensions, value by value: `Identity` takes values to the device. */
  map(operator: 'Identity' | 'Relu', dims: readonly number[], output?: string): OnnxModel;
}

/** Makes models with the type that protobufjs read from onnx.proto. */
export function onnxEncoder(type: MessageType): OnnxEncoder {
  const model = ({ graph, externalData }: Made): OnnxModel => ({
    bytes: encode(type, graph),
    inputs: graph.input.map(({ name }) => name),
    outputs: graph.output.map(({ name }) => name).filter((name) => name !== DONE),
    externalData,
  });
  return {
    products: (weights, chain) => model(productsGraph(weights, chain)),
    independent: (weights, products) => model(independentGraph(weights, products)),
    map: (opType, dims, to = 'y') => {
      const node: Node[] = [{ name: 'map', opType, input: ['x'], output: [to] }];
      return model({ graph: { node, input: [floats('x', dims)], output: [floats(to, dims)] }, externalData: [] });
    },
  };
}

/** A graph, and its weights apart from it. */
interface Made {
  readonly graph: {
    readonly node: readonly Node[];
    readonly initializer?: readonly object[];
    readonly input: readonly ReturnType<typeof floats>[];
    readonly output: readonly ReturnType<typeof floats>[];
  };
  readonly externalData: OnnxModel['externalData'];
}

const DONE = 'done';

const encode = (type: MessageType, graph: object): Uint8Array =>
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

/** The initializers of a model. */
class Initializers {
  readonly list: object[] = [];
  readonly externalData: { path: string; data: Uint8Array }[] = [];

  /** Values that are apart from the model. */
  #external(name: string, type: number, dims: readonly number[], values: Uint8Array | Float32Array): void {
    const data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    this.externalData.push({ path: name, data });
    this.list.push({
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
  }

  weight(i: number, weight: OnnxWeight, n: number, k: number): void {
    if (weight.kind === 'dense') {
      this.#external(`weight${i}`, TYPES.float, [k, n], weight.values);
      return;
    }
    const { bits, block } = weight;
    this.#external(`codes${i}`, TYPES.uint8, [n, k / block, (block * bits) / 8], weight.codes);
    this.#external(`scales${i}`, TYPES.float, [n * (k / block)], weight.scales);
  }

  integers(name: string, values: readonly number[]): void {
    const rawData = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
    this.list.push({ name, dims: [values.length], dataType: TYPES.int64, rawData });
  }
}

interface Product {
  readonly name: string;
  readonly input: string;
  readonly output: string;
  readonly n: number;
  readonly k: number;
  readonly accuracy?: 0 | 4;
}

/** The product with weight number `i` of the initializers. */
function product(i: number, weight: OnnxWeight, { name, input, output, n, k, accuracy = 0 }: Product): Node {
  if (weight.kind === 'dense') return { name, opType: 'MatMul', input: [input, `weight${i}`], output: [output] };
  const attributes = { K: k, N: n, bits: weight.bits, block_size: weight.block, accuracy_level: accuracy };
  return {
    name,
    opType: 'MatMulNBits',
    domain: 'com.microsoft',
    input: [input, `codes${i}`, `scales${i}`],
    output: [output],
    attribute: Object.entries(attributes).map(([key, value]) => ({ name: key, i: value, type: INT_ATTRIBUTE })),
  };
}

/** The first value of `from` [rows, columns], as the output `done`. */
function first(initializers: Initializers, from: string): Node {
  initializers.integers('start', [0, 0]);
  initializers.integers('end', [1, 1]);
  return { name: 'first', opType: 'Slice', input: [from, 'start', 'end'], output: [DONE] };
}

function productsGraph(weights: readonly OnnxWeight[], { tokens, size, accuracy }: OnnxChain): Made {
  const initializers = new Initializers();
  const node = weights.map((weight, i) => {
    initializers.weight(i, weight, size, size);
    const input = i === 0 ? 'x' : `value${i}`;
    const output = i === weights.length - 1 ? 'y' : `value${i + 1}`;
    return product(i, weight, { name: `product${i}`, input, output, n: size, k: size, ...(accuracy && { accuracy }) });
  });
  node.push(first(initializers, 'y'));
  const input = [floats('x', [tokens, size])];
  const output = [floats('y', [tokens, size]), floats(DONE, [1, 1])];
  return { graph: { node, initializer: initializers.list, input, output }, externalData: initializers.externalData };
}

function independentGraph(weights: readonly OnnxWeight[], { tokens, n, k, count, accuracy, done }: OnnxProducts): Made {
  const initializers = new Initializers();
  for (const [i, weight] of weights.entries()) initializers.weight(i, weight, n, k);
  const node = Array.from({ length: count }, (_, i) => {
    const turn = i % weights.length;
    const names = { name: `product${i}`, input: `x${Math.floor(i / weights.length)}`, output: `y${i}` };
    return product(turn, weights[turn]!, { ...names, n, k, ...(accuracy && { accuracy }) });
  });
  const rounds = Math.ceil(count / weights.length);
  const input = Array.from({ length: rounds }, (_, i) => floats(`x${i}`, [tokens, k]));
  const output = Array.from({ length: count }, (_, i) => floats(`y${i}`, [tokens, n]));
  if (done) {
    node.push(first(initializers, `y${count - 1}`));
    output.push(floats(DONE, [1, 1]));
  }
  return { graph: { node, initializer: initializers.list, input, output }, externalData: initializers.externalData };
}
