import type { Graph, Rotary, ValueName } from '../graph/graph.ts';
import { GraphBuilder } from './builder.ts';
import { type LlamaConfig, parseLlamaConfig } from './config.ts';
import type { Family } from './family.ts';

/** Llama up to 3 (3.1 scales its positions) and all with the same blocks: RMS norm, rotary positions, grouped queries, gated FFN. */
export const llama: Family = {
  architectures: ['LlamaForCausalLM'],
  build: (config, file) => llamaGraph(parseLlamaConfig(config, file)),
};

/** The graph of a Llama-type decoder; weights carry the tensor names of Hugging Face checkpoints. */
export function llamaGraph(config: LlamaConfig): Graph {
  const { hidden, vocabulary, layers } = config;
  const graph = new GraphBuilder();
  const embedding = graph.weight('model.embed_tokens.weight', [vocabulary, hidden], 'embedding');
  let x = graph.add({ op: 'embedding', weight: embedding, out: 'embedding' }, hidden);
  for (let layer = 0; layer < layers; layer++) {
    graph.layer(() => {
      x = decoderLayer(graph, config, layer, x);
    });
  }
  const weight = graph.weight('model.norm.weight', [hidden], 'norm');
  x = graph.add({ op: 'rms-norm', x, weight, epsilon: config.normEpsilon, out: 'norm' }, hidden);
  const head = config.tiedHead ? embedding : graph.weight('lm_head.weight', [vocabulary, hidden], 'head');
  const logits = graph.add({ op: 'linear', x, weight: head, out: 'logits' }, vocabulary);
  return graph.finish(logits, vocabulary, config.maxPositions);
}

function decoderLayer(graph: GraphBuilder, config: LlamaConfig, layer: number, input: ValueName): ValueName {
  const { hidden, ffn, heads, kvHeads, headDim, attentionBias, mlpBias } = config;
  const prefix = `model.layers.${layer}`;
  const named = (value: string) => `layers.${layer}.${value}`;

  const norm = (x: ValueName, out: string, tensor: string) => {
    const weight = graph.weight(`${prefix}.${tensor}.weight`, [hidden], 'norm');
    return graph.add({ op: 'rms-norm', x, weight, epsilon: config.normEpsilon, out: named(out) }, hidden);
  };
  const linear = (x: ValueName, k: number, out: string, n: number, tensor: string, biased: boolean) => {
    const weight = graph.weight(`${prefix}.${tensor}.weight`, [n, k], 'linear');
    const bias = biased ? { bias: graph.weight(`${prefix}.${tensor}.bias`, [n], 'bias') } : {};
    return graph.add({ op: 'linear', x, weight, ...bias, out: named(out) }, n);
  };

  const normed = norm(input, 'attention-norm', 'input_layernorm');
  const q = linear(normed, hidden, 'q', heads * headDim, 'self_attn.q_proj', attentionBias);
  const k = linear(normed, hidden, 'k', kvHeads * headDim, 'self_attn.k_proj', attentionBias);
  const v = linear(normed, hidden, 'v', kvHeads * headDim, 'self_attn.v_proj', attentionBias);
  const rotary = rotaryOf(config);
  const rotated = (x: ValueName, out: string, width: number) =>
    graph.add({ op: 'rotary', x, rotary, out: named(out) }, width);
  const attention = graph.add(
    {
      op: 'attention',
      cache: layer,
      q: rotated(q, 'q-rotated', heads * headDim),
      k: rotated(k, 'k-rotated', kvHeads * headDim),
      v,
      heads,
      kvHeads,
      headDim,
      scale: 1 / Math.sqrt(headDim),
      out: named('attention'),
    },
    heads * headDim,
  );
  const mixed = linear(attention, heads * headDim, 'o', hidden, 'self_attn.o_proj', attentionBias);
  const middle = graph.add({ op: 'add', a: input, b: mixed, out: named('middle') }, hidden);

  const normedAgain = norm(middle, 'ffn-norm', 'post_attention_layernorm');
  const gate = linear(normedAgain, hidden, 'gate', ffn, 'mlp.gate_proj', mlpBias);
  const up = linear(normedAgain, hidden, 'up', ffn, 'mlp.up_proj', mlpBias);
  const activated = graph.add({ op: 'silu-mul', gate, up, out: named('activated') }, ffn);
  const down = linear(activated, ffn, 'down', hidden, 'mlp.down_proj', mlpBias);
  return graph.add({ op: 'add', a: middle, b: down, out: named('out') }, hidden);
}

function rotaryOf({ headDim, ropeTheta }: LlamaConfig): Rotary {
  const inverseFrequencies = Array.from({ length: headDim / 2 }, (_, i) => ropeTheta ** ((-2 * i) / headDim));
  return { style: 'half', headDim, inverseFrequencies };
}
