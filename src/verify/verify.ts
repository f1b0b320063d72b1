import { ArgumentError } from '../errors.ts';
import { checkCancelled } from '../files/cancel.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { Decoder } from '../graph/decoder.ts';
import type { Graph } from '../graph/graph.ts';
import { ReferenceRun } from '../graph/reference.ts';
import type { Weight } from '../kernels/weight.ts';
import { graphOf } from '../models/families.ts';
import { dequantizedWeights, loadWeights } from '../passes/load-weights.ts';
import { cutWindows, scoreWindows, type WindowOptions } from './accuracy.ts';
import type { Report } from './report.ts';
import { shuffledWeights } from './shuffle-control.ts';
import { compareSizes } from './sizes.ts';
import { measureSpeed, type SpeedOptions } from './speed.ts';

export interface VerifyOptions extends WindowOptions {
  readonly gpu: Gpu;
  /** Tokens of held-out text; without them only sizes and weight errors are reported. */
  readonly tokens?: ArrayLike<number>;
  /** Fraction: 0.01 allows one percent. */
  readonly maxPerplexityIncrease?: number;
  /** false leaves the speed out. */
  readonly speed?: SpeedOptions | false;
  readonly signal?: AbortSignal;
  readonly onProgress?: (stage: string, done: number, total: number) => void;
}

/** Windows for the control and for each layer's sensitivity. */
const FEW_WINDOWS = 2;
/** Tokens that the f64 reference computes. */
const REFERENCE_TOKENS = 16;

/**
 * Runs both models on this GPU and reports what compression bought and what it cost; with one model, scores that one.
 * @throws ModelError, ArgumentError, NonFiniteError, CancelledError, DeviceLostError, OutOfMemoryError
 */
export async function verify(
  original: Checkpoint,
  compressed: Checkpoint | undefined,
  options: VerifyOptions,
): Promise<Report> {
  const { gpu, signal, tokens } = options;
  const progress = options.onProgress ?? (() => {});
  progress('sizes and weight errors', 0, 1);
  const size = await compareSizes(original, compressed ?? original, signal);
  const base: Report = {
    version: 1,
    device: {
      name: gpu.description.description || gpu.description.device || 'unnamed',
      vendor: gpu.description.vendor,
      software: gpu.description.software,
    },
    model: { original: original.name, compressed: compressed?.name ?? null },
    size,
    accuracy: null,
    kernels: null,
    speed: null,
    gate: null,
  };
  if (!original.config || !tokens) {
    if (options.maxPerplexityIncrease !== undefined) {
      throw new ArgumentError('A perplexity gate needs a model folder with config.json and a --text to score.');
    }
    return base;
  }
  const graph = graphOf(original.config, `${original.name}/config.json`);
  const windows = cutWindows(tokens, options);
  if (windows[0]!.length > graph.maxPositions) {
    throw new ArgumentError(
      `A window of ${windows[0]!.length} tokens is longer than the model's ${graph.maxPositions} positions.`,
    );
  }
  const held = new Held(gpu, graph);
  try {
    const dense = held.weights(await loadWeights(gpu, original, graph, {}, signal));
    const first = held.decoder(dense);
    if (!compressed) {
      const scored = await scoreWindows(first, first, windows, {
        ...(signal && { signal }),
        onProgress: (d, t) => progress('accuracy', d, t),
      });
      return { ...base, accuracy: accuracyOf(scored, windows, null, null, []) };
    }
    const small = held.weights(await loadWeights(gpu, compressed, graph, {}, signal));
    const second = held.decoder(small);
    const scored = await scoreWindows(first, second, windows, {
      ...(signal && { signal }),
      onProgress: (d, t) => progress('accuracy', d, t),
    });
    const few = windows.slice(0, FEW_WINDOWS);
    progress('control', 0, 1);
    const shuffled = await shuffledWeights(gpu, graph, small);
    held.own(shuffled.created);
    const control = await scoreWindows(first, held.decoder(shuffled.weights), few, signal ? { signal } : {});
    const sensitivity = await sensitivities(held, dense, small, few, progress, signal);
    progress('kernels against f64', 0, 1);
    const kernels = await checkKernels(second, compressed, windows[0]!.subarray(0, REFERENCE_TOKENS), signal);
    const accuracy = accuracyOf(
      scored,
      windows,
      scored.perplexity.compressed,
      control.perplexity.compressed,
      sensitivity,
    );
    let speed: Report['speed'] = null;
    if (options.speed !== false) {
      progress('speed', 0, 1);
      const f32 = held.decoder(
        held.weights(await loadWeights(gpu, original, graph, { dense: 'f32', embeddings: 'f16' }, signal)),
      );
      const f16 = held.decoder(held.weights(await loadWeights(gpu, original, graph, { dense: 'f16' }, signal)));
      const measured = await measureSpeed(
        { f32, f16, compressed: second },
        { ...(signal && { signal }), ...options.speed },
      );
      speed = { prefill: mutable(measured.prefill), decode: mutable(measured.decode) };
    }
    return { ...base, accuracy, kernels, speed, gate: gateOf(options.maxPerplexityIncrease, accuracy, size) };
  } finally {
    held.release();
  }
}

/** What one verification holds on the GPU. */
class Held {
  readonly #gpu: Gpu;
  readonly #graph: Graph;
  readonly #weights: Weight[] = [];
  readonly #decoders: Decoder[] = [];

  constructor(gpu: Gpu, graph: Graph) {
    this.#gpu = gpu;
    this.#graph = graph;
  }

  weights(weights: Map<string, Weight>): Map<string, Weight> {
    this.own([...weights.values()]);
    return weights;
  }

  own(weights: readonly Weight[]): void {
    this.#weights.push(...weights);
  }

  decoder(weights: ReadonlyMap<string, Weight>): Decoder {
    const decoder = new Decoder(this.#gpu, this.#graph, weights);
    this.#decoders.push(decoder);
    return decoder;
  }

  /** Frees the newest decoder early. */
  drop(decoder: Decoder): void {
    this.#decoders.splice(this.#decoders.indexOf(decoder), 1);
    decoder.release();
  }

  release(): void {
    for (const decoder of this.#decoders) decoder.release();
    for (const weight of this.#weights) weight.release();
  }

  get graph(): Graph {
    return this.#graph;
  }
}

async function sensitivities(
  held: Held,
  dense: ReadonlyMap<string, Weight>,
  small: ReadonlyMap<string, Weight>,
  windows: readonly Uint32Array[],
  progress: (stage: string, done: number, total: number) => void,
  signal?: AbortSignal,
): Promise<{ layer: number; lossIncrease: number }[]> {
  const { graph } = held;
  const first = held.decoder(dense);
  const result: { layer: number; lossIncrease: number }[] = [];
  for (let layer = 0; layer < graph.layers; layer++) {
    checkCancelled(signal, 'The verification');
    const mixed = new Map(dense);
    for (const weight of graph.weights) if (weight.layer === layer) mixed.set(weight.name, small.get(weight.name)!);
    const decoder = held.decoder(mixed);
    const { perplexity } = await scoreWindows(first, decoder, windows, signal ? { signal } : {});
    held.drop(decoder);
    result.push({ layer, lossIncrease: Math.log(perplexity.compressed / perplexity.original) });
    progress('sensitivity', layer + 1, graph.layers);
  }
  held.drop(first);
  return result;
}

/** GPU against the f64 reference over the same dequantized weights: what is left is the kernels' own error. */
async function checkKernels(
  decoder: Decoder,
  checkpoint: Checkpoint,
  tokens: Uint32Array,
  signal?: AbortSignal,
): Promise<NonNullable<Report['kernels']>> {
  const { gpu, graph } = decoder;
  decoder.rewind();
  const { values } = await decoder.forward(tokens, { keepValues: true });
  const nonFinite: string[] = [];
  let logits = new Float32Array();
  for (const [name, view] of values) {
    const got = new Float32Array((await gpu.readBack(view.buffer, 0, view.size)).buffer);
    if (got.some((x) => !Number.isFinite(x))) nonFinite.push(name);
    if (name === graph.logits) logits = got;
  }
  const run = new ReferenceRun(graph, await dequantizedWeights(checkpoint, graph, signal));
  const expected = run.forward([...tokens]);
  let largest = 0;
  let worst = 0;
  for (const [i, value] of expected.entries()) {
    largest = Math.max(largest, Math.abs(value));
    worst = Math.max(worst, Math.abs(logits[i]! - value));
  }
  return {
    maxRelativeError: nonFinite.length > 0 ? Number.MAX_VALUE : worst / Math.max(largest, Number.MIN_VALUE),
    nonFinite,
  };
}

function accuracyOf(
  scored: Awaited<ReturnType<typeof scoreWindows>>,
  windows: readonly Uint32Array[],
  compressed: number | null,
  control: number | null,
  sensitivity: { layer: number; lossIncrease: number }[],
): NonNullable<Report['accuracy']> {
  return {
    windows: windows.length,
    window: windows[0]!.length,
    perplexity: { original: scored.perplexity.original, compressed, control },
    kl: compressed === null ? null : scored.kl,
    top1Agreement: compressed === null ? null : scored.top1Agreement,
    sensitivity,
  };
}

const mutable = (rate: Awaited<ReturnType<typeof measureSpeed>>['decode']) => ({
  ...rate,
  interval: [...rate.interval] as [number, number],
});

function gateOf(
  most: number | undefined,
  accuracy: NonNullable<Report['accuracy']>,
  size: Report['size'],
): Report['gate'] {
  if (most === undefined || accuracy.perplexity.compressed === null) return null;
  const increase = accuracy.perplexity.compressed / accuracy.perplexity.original - 1;
  const costliest = [...size.tensors].sort((a, b) => (b.relativeError ?? 0) - (a.relativeError ?? 0)).slice(0, 5);
  return {
    maxPerplexityIncrease: most,
    increase,
    passed: increase <= most,
    costliest: costliest.map(({ name }) => name),
  };
}
