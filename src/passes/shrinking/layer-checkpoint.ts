import { FileError, ModelError } from '../../errors.ts';
import type { Checkpoint } from '../../files/checkpoint.ts';
import type { GgufFile } from '../../files/gguf/read.ts';
import { findTensor, type TensorInfo } from '../../files/safetensors-read.ts';
import type { Json, JsonObject } from '../../files/strict-json.ts';
import { quote } from '../../files/text.ts';
import type { WeightTree } from '../../files/weight-tree.ts';
import type { Graph, Operation } from '../../graph/graph.ts';
import { modelGraph } from '../model-graph.ts';
import { ffnSizeOf } from './ffn-widths.ts';

const LAYER = /^(model\.layers\.)(\d+)(\..*)$/;

/** A model with some of its layers left out, as a checkpoint: those that stay are counted anew, and the config says how many there are. */
export class LayerCheckpoint implements Checkpoint {
  readonly name: string;
  readonly bytes: number;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tree: WeightTree | undefined;
  readonly config: JsonObject;
  readonly gguf?: GgufFile;
  readonly #source: Checkpoint;
  /** Names in the source. */
  readonly #origins = new Map<string, string>();

  /**
   * Owns `source`, unless it throws.
   * @param kept layers that stay, ascending
   * @throws FileError for a compressed model; ModelError where no config says what is left
   */
  constructor(source: Checkpoint, graph: Graph, kept: readonly number[]) {
    const { name, tree, opaque } = source;
    const compressed = [...(tree?.weights.keys() ?? []), ...(opaque?.keys() ?? [])][0];
    if (compressed !== undefined) {
      throw new FileError(
        `${name}: ${quote(compressed)} is quantized: only a model that is not compressed can be shrunk. Shrink the original, and compress it at the same time (--format).`,
      );
    }
    this.#source = source;
    this.name = name;
    this.bytes = source.bytes;
    this.metadata = source.metadata;
    this.tree = tree;
    if (source.gguf) this.gguf = source.gguf;
    this.config = {
      ...source.config,
      num_hidden_layers: kept.length,
      ...kindsOf(graph, kept, source.config),
    };
    const places = new Map(kept.map((layer, place) => [layer, place]));
    for (const origin of source.tensors.keys()) {
      const [, before, layer, behind] = LAYER.exec(origin) ?? [];
      const place = layer === undefined ? undefined : places.get(Number(layer));
      if (layer === undefined) this.#origins.set(origin, origin);
      else if (place !== undefined) this.#origins.set(`${before}${place}${behind}`, origin);
    }
    this.tensors = new Map(
      [...this.#origins].map(([own, origin]) => [own, { ...source.tensors.get(origin)!, name: own }] as const),
    );
    const made = shapeOfLayers(modelGraph(this));
    const wanted = shapeOfLayers(graph).filter((_, layer) => places.has(layer));
    if (made.length === wanted.length && made.every((shape, i) => shape === wanted[i])) return;
    throw new ModelError(
      `${name}: its layers differ by their place, which its config.json can't say of those that would stay. Leave "layers" out.`,
    );
  }

  /** Bytes of a tensor as the original stores it. */
  bytesBefore(name: string): number {
    return this.#source.tensors.get(this.#origins.get(name) ?? '')?.byteLength ?? 0;
  }

  /** Bytes of the tensors that are left out. */
  get removedBytes(): number {
    const stays = new Set(this.#origins.values());
    const gone = [...this.#source.tensors.values()].filter(({ name }) => !stays.has(name));
    return gone.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  async read(
    tensor: string | TensorInfo,
    ...range: [rowStart?: number, rowCount?: number, signal?: AbortSignal]
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { name } = findTensor(this.name, this.tensors, tensor);
    return this.#source.read(this.#origins.get(name)!, ...range);
  }

  async fileBytes(name: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (name !== 'config.json') return this.#source.fileBytes(name);
    return new TextEncoder().encode(`${JSON.stringify(this.config, undefined, 2)}\n`);
  }

  close(): Promise<void> {
    return this.#source.close();
  }
}

/** What config.json says of single layers, where it does, or where they are not all alike. */
function kindsOf(graph: Graph, kept: readonly number[], config: JsonObject | undefined): JsonObject {
  const operations = graph.layerRanges.map(([from, to]) => graph.operations.slice(from, to));
  const windowed = operations.map((layer) => layer.some((one) => one.op === 'attention' && one.window !== undefined));
  const rotates = operations.map((layer) => layer.some(({ op }) => op === 'rotary'));
  const differ = (kinds: readonly boolean[]) => kinds.some((kind) => kind !== kinds[0]);
  /** The list as it is, for other programs count its entries even where all are alike; else what the graph knows. */
  const listed = (key: string, kinds: readonly boolean[], nameOf: (kind: boolean) => Json): JsonObject => {
    const given = config?.[key];
    if (Array.isArray(given)) return { [key]: kept.map((layer) => given[layer]!) };
    return differ(kinds) ? { [key]: kept.map((layer) => nameOf(kinds[layer]!)) } : {};
  };
  const size = config?.intermediate_size;
  return {
    ...listed('layer_types', windowed, (slides) => (slides ? 'sliding_attention' : 'full_attention')),
    ...listed('no_rope_layers', rotates, Number),
    ...(Array.isArray(size) && { intermediate_size: ffnSizeOf(kept.map((layer) => Number(size[layer]))) }),
  };
}

/** What the operations of each layer are, but for the names of values and weights. */
function shapeOfLayers({ operations, layerRanges, values }: Graph): string[] {
  const settings = ({ out, ...operation }: Operation) => {
    const own = Object.entries(operation).filter(([key, value]) => typeof value !== 'string' && key !== 'cache');
    return [operation.op, values[out], ...own];
  };
  return layerRanges.map(([from, to]) => JSON.stringify(operations.slice(from, to).map(settings)));
}
