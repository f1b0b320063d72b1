import type { Graph, Rotary, ValueName } from '../graph/graph.ts';
import { GraphBuilder } from './builder.ts';
import type { DecoderShape } from './config.ts';

/** What may differ from layer to layer. */
export interface LayerSpec {
  /** Undefined: no rotary embedding, so that the layer does not know positions. */
  readonly rotary: Rotary | undefined;
  /** Positions that a token sees, its own included; undefined: all. */
  readonly window?: number | undefined;
  /** Factor on q·k. */
  readonly scale: number;
}

/**
 * A decoder of the kind that all families here are: RMS norms, grouped queries, a gated FFN. What a family may leave out is as
 * Llama has it.
 */
export interface DecoderSpec extends DecoderShape {
  readonly layers: readonly LayerSpec[];
  /** The output head is the embedding matrix. */
  readonly tiedHead: boolean;
  readonly qkvBias?: boolean;
  readonly outputBias?: boolean;
  readonly ffnBias?: boolean;
  /** Queries and keys are normalized head by head before they are rotated. */
  readonly qkNorm?: boolean;
  /** What attention and FFN give is normalized too, before it is added. */
  readonly postNorms?: boolean;
  /** Added to the weights of all norms. */
  readonly normOffset?: number;
  readonly activation?: 'silu' | 'gelu-tanh';
  readonly embeddingScale?: number;
  /** Bounds of attention scores and of logits. */
  readonly scoreCap?: number | undefined;
  readonly logitCap?: number | undefined;
}

/** The graph of a decoder; weights carry the tensor names of Hugging Face checkpoints. */
export function decoderGraph(spec: DecoderSpec): Graph {
  const { hidden, vocabulary } = spec;
  const graph = new GraphBuilder();
  const embedding = graph.weight('model.embed_tokens.weight', [vocabulary, hidden], 'embedding');
  const scale = spec.embeddingScale === undefined ? {} : { scale: spec.embeddingScale };
  let x = graph.add({ op: 'embedding', weight: embedding, ...scale, out: 'embedding' }, hidden);
  for (const [index, layer] of spec.layers.entries()) {
    graph.layer(() => {
      x = decoderLayer(graph, spec, layer, index, x);
    });
  }
  const weight = graph.weight('model.norm.weight', [hidden], 'norm');
  const norm = normSettings(spec);
  x = graph.add({ op: 'rms-norm', x, weight, ...norm, out: 'norm' }, hidden);
  const head = spec.tiedHead ? embedding : graph.weight('lm_head.weight', [vocabulary, hidden], 'head');
  const cap = spec.logitCap === undefined ? {} : { softCap: spec.logitCap };
  const logits = graph.add({ op: 'linear', x, weight: head, ...cap, out: 'logits' }, vocabulary);
  return graph.finish(logits, vocabulary, spec.maxPositions);
}

const normSettings = ({ normEpsilon, normOffset }: DecoderSpec) => ({
  epsilon: normEpsilon,
  ...(normOffset !== undefined && { offset: normOffset }),
});

function decoderLayer(
  graph: GraphBuilder,
  spec: DecoderSpec,
  layer: LayerSpec,
  index: number,
  input: ValueName,
): ValueName {
  const { hidden, heads, kvHeads, headDim } = spec;
  const ffn = spec.ffn[index]!;
  const prefix = `model.layers.${index}`;
  const named = (value: string) => `layers.${index}.${value}`;

  const norm = (x: ValueName, out: string, tensor: string, width = hidden, weightWidth = width) => {
    const weight = graph.weight(`${prefix}.${tensor}.weight`, [weightWidth], 'norm');
    return graph.add({ op: 'rms-norm', x, weight, ...normSettings(spec), out: named(out) }, width);
  };
  const linear = (x: ValueName, k: number, out: string, n: number, tensor: string, biased = false) => {
    const weight = graph.weight(`${prefix}.${tensor}.weight`, [n, k], 'linear');
    const bias = biased ? { bias: graph.weight(`${prefix}.${tensor}.bias`, [n], 'bias') } : {};
    return graph.add({ op: 'linear', x, weight, ...bias, out: named(out) }, n);
  };
  /** Queries or keys as the attention takes them: projected, normalized and rotated. */
  const rotated = (x: ValueName, name: 'q' | 'k', count: number) => {
    const width = count * headDim;
    let value = linear(x, hidden, name, width, `self_attn.${name}_proj`, spec.qkvBias);
    if (spec.qkNorm) value = norm(value, `${name}-norm`, `self_attn.${name}_norm`, width, headDim);
    const { rotary } = layer;
    return rotary ? graph.add({ op: 'rotary', x: value, rotary, out: named(`${name}-rotated`) }, width) : value;
  };

  const normed = norm(input, 'attention-norm', 'input_layernorm');
  const q = rotated(normed, 'q', heads);
  const k = rotated(normed, 'k', kvHeads);
  const v = linear(normed, hidden, 'v', kvHeads * headDim, 'self_attn.v_proj', spec.qkvBias);
  const attention = graph.add(
    {
      op: 'attention',
      cache: index,
      q,
      k,
      v,
      heads,
      kvHeads,
      headDim,
      scale: layer.scale,
      ...(layer.window !== undefined && { window: layer.window }),
      ...(spec.scoreCap !== undefined && { softCap: spec.scoreCap }),
      out: named('attention'),
    },
    heads * headDim,
  );
  let mixed = linear(attention, heads * headDim, 'o', hidden, 'self_attn.o_proj', spec.outputBias);
  if (spec.postNorms) mixed = norm(mixed, 'o-norm', 'post_attention_layernorm');
  const middle = graph.add({ op: 'add', a: input, b: mixed, out: named('middle') }, hidden);

  // With norms on both sides, Hugging Face calls the one before the FFN by what it is.
  const ffnNorm = spec.postNorms ? 'pre_feedforward_layernorm' : 'post_attention_layernorm';
  const normedAgain = norm(middle, 'ffn-norm', ffnNorm);
  const gate = linear(normedAgain, hidden, 'gate', ffn, 'mlp.gate_proj', spec.ffnBias);
  const up = linear(normedAgain, hidden, 'up', ffn, 'mlp.up_proj', spec.ffnBias);
  const op = spec.activation === 'gelu-tanh' ? 'gelu-mul' : 'silu-mul';
  const activated = graph.add({ op, gate, up, out: named('activated') }, ffn);
  let down = linear(activated, ffn, 'down', hidden, 'mlp.down_proj', spec.ffnBias);
  if (spec.postNorms) down = norm(down, 'down-norm', 'post_feedforward_layernorm');
  return graph.add({ op: 'add', a: middle, b: down, out: named('out') }, hidden);
}
