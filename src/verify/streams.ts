import type { Graph, ValueName } from '../graph/graph.ts';

/** Whose weights: the control has those of the compressed model, changed. */
export type Side = 'original' | 'compressed' | 'control';

/** Values of a window between two segments: f32 [tokens, width] each, on the host. They are never changed in place. */
export type HostValues = ReadonlyMap<ValueName, Float32Array>;

/** One model, or mixture of two, on its way through the blocks. */
export interface Stream {
  /** What errors call it. */
  readonly name: string;
  readonly graph: Graph;
  /** Tokens of each window. */
  readonly windows: readonly Uint32Array[];
  /** Whose weights it takes for a layer; null: for what belongs to none. */
  readonly side: (layer: number | null) => Side;
  /**
   * The stream that it equals up to a layer, on the windows that start as its own do: it begins there, with the other's values. A token's
   * values depend on those before it only.
   */
  readonly fork?: { readonly of: Stream; readonly layer: number };
  /** All its values are held to the f64 reference. */
  readonly checked?: true;
  /** What a note calls it where it fails; without this, the failure ends the verification. */
  readonly optional?: string;
}

/** Streams that run through the blocks of one graph together, so that each weight is loaded once. */
export interface Pass {
  readonly graph: Graph;
  readonly streams: readonly Stream[];
}

/** Windows for the control and for each layer's sensitivity, and the most tokens of each: every layer has to run them. */
const FEW_WINDOWS = 2;
const FEW_TOKENS = 128;

/** Tokens that the f64 reference computes. */
export const REFERENCE_TOKENS = 16;

export interface StreamShape {
  readonly graphs: { readonly original: Graph; readonly compressed: Graph };
  readonly windows: readonly Uint32Array[];
  /** Whether there are two models. */
  readonly compares: boolean;
  /** Whether a layer of one model can stand in the other. */
  readonly mixable: boolean;
  /** Layers whose weights differ; null stands for what belongs to none. */
  readonly changed: ReadonlySet<number | null>;
}

export interface Streams {
  readonly original: Stream;
  /** Undefined where there is one model. */
  readonly compressed?: Stream;
  readonly control?: Stream;
  /** The compressed model on the tokens that are held to the f64 reference. */
  readonly kernels?: Stream;
  /** The original with one layer compressed, or what belongs to none. Undefined for layers that differ in nothing. */
  readonly sensitivity: ReadonlyMap<number | null, Stream | undefined>;
}

/** Everything that a verification takes through the blocks. */
export function streamsOf({ graphs, windows, compares, mixable, changed }: StreamShape): Streams {
  const all = (side: Side) => () => side;
  const { original: graph } = graphs;
  const original: Stream = {
    name: compares ? 'The original model' : 'The model',
    graph,
    windows,
    side: all('original'),
  };
  if (!compares) return { original, sensitivity: new Map() };
  const few = windows.slice(0, FEW_WINDOWS).map((tokens) => tokens.subarray(0, FEW_TOKENS));
  const sensitivity = new Map<number | null, Stream | undefined>();
  const layers = [...Array.from({ length: graph.layers }, (_, layer) => layer), null];
  for (const layer of mixable ? layers : []) {
    if (!changed.has(layer)) {
      if (layer !== null) sensitivity.set(layer, undefined);
      continue;
    }
    const what = layer === null ? 'what belongs to no layer' : `layer ${layer}`;
    sensitivity.set(layer, {
      name: `The original with only ${what} compressed`,
      graph,
      windows: few,
      side: (at) => (at === layer ? 'compressed' : 'original'),
      ...(layer !== null && { fork: { of: original, layer } }),
      optional: `The sensitivity of ${what}`,
    });
  }
  const compressed: Omit<Stream, 'windows'> = {
    name: 'The compressed model',
    graph: graphs.compressed,
    side: all('compressed'),
  };
  return {
    original,
    compressed: { ...compressed, windows },
    control: { ...compressed, windows: few, name: 'The control', side: all('control'), optional: 'The control' },
    kernels: {
      ...compressed,
      windows: [windows[0]!.subarray(0, REFERENCE_TOKENS)],
      checked: true,
      optional: 'The check of the kernels',
    },
    sensitivity,
  };
}

/** The streams by the graph that they run; one after another where graphs differ, the compressed model first: its values are checked. */
export function passesOf({ original, compressed, control, kernels, sensitivity }: Streams): Pass[] {
  const all = [kernels, compressed, control, original, ...sensitivity.values()].filter(
    (stream) => stream !== undefined,
  );
  const graphs = [...new Set(all.map(({ graph }) => graph))];
  return graphs.map((graph) => ({ graph, streams: all.filter((stream) => stream.graph === graph) }));
}
