import type { Graph } from '../graph/graph.ts';
import type { Segment } from '../graph/segments.ts';
import type { RowRange } from '../passes/load-weights.ts';
import type { ReferenceBlocks } from './reference-blocks.ts';
import type { Report } from './report-schema.ts';
import type { HostValues } from './streams.ts';

/**
 * The GPU's values against the f64 reference over the same dequantized weights, block by block: quantization is not in the difference, what is
 * left is the kernels' own error. Every value on the way is looked at; those that hold NaN or infinity are named, layer first, and end the
 * comparison.
 */
export class KernelCheck {
  readonly #graph: Graph;
  readonly #reference: ReferenceBlocks;
  readonly #nonFinite: string[] = [];
  #largest = 0;
  #worst = 0;

  constructor(graph: Graph, reference: ReferenceBlocks) {
    this.#graph = graph;
    this.#reference = reference;
  }

  /** Values that held NaN or infinity so far. */
  get nonFinite(): readonly string[] {
    return this.#nonFinite;
  }

  /** Takes all values of a segment, in the order of its operations. @throws FileError, CancelledError */
  async block(segment: Segment, got: HostValues): Promise<void> {
    for (const [name, values] of got) if (!values.every(Number.isFinite)) this.#nonFinite.push(name);
    if (this.#nonFinite.length === 0) await this.#reference.run(segment, got);
  }

  /** Takes the logits of a slice of the vocabulary: f32 [tokens, its size]. @throws FileError, CancelledError */
  async head(slice: RowRange, got: Float32Array): Promise<void> {
    const { logits } = this.#graph;
    if (!got.every(Number.isFinite) && !this.#nonFinite.includes(logits)) this.#nonFinite.push(logits);
    if (this.#nonFinite.length > 0) return;
    for (const [i, value] of (await this.#reference.logits(slice)).entries()) {
      this.#largest = Math.max(this.#largest, Math.abs(value));
      this.#worst = Math.max(this.#worst, Math.abs(got[i]! - value));
    }
  }

  get result(): NonNullable<Report['kernels']> {
    if (this.#nonFinite.length > 0) return { maxRelativeError: null, nonFinite: [...this.#nonFinite] };
    // What exceeds f64 where the GPU noticed nothing.
    if (!Number.isFinite(this.#worst)) {
      return { maxRelativeError: null, nonFinite: [`${this.#graph.logits} of the reference`] };
    }
    return { maxRelativeError: this.#worst / Math.max(this.#largest, Number.MIN_VALUE), nonFinite: [] };
  }
}
