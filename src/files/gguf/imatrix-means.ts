import { FileError } from '../../errors.ts';
import { quote } from '../text.ts';
import type { Imatrix, ImatrixTarget } from './imatrix.ts';
import { huggingFaceName } from './tensor-names.ts';

const OTHER_MODEL = 'This is the importance matrix of another model';

/** Collects the statistics of a file, matrix by matrix, and holds them to the model that they are for. */
export class ImatrixMeans {
  readonly #file: string;
  readonly #targets: ReadonlyMap<string, ImatrixTarget>;
  readonly #importance = new Map<string, Float32Array<ArrayBuffer>>();

  constructor(file: string, targets: readonly ImatrixTarget[]) {
    this.#file = file;
    this.#targets = new Map(targets.filter(({ shape }) => shape.length === 2).map((each) => [each.name, each]));
  }

  /** Before any of `columns` numbers are read for the matrix that GGUF calls `gguf`. @throws FileError where the model has no such */
  check(gguf: string, columns: number): void {
    const target = this.#target(gguf);
    const wanted = target.shape[1];
    if (columns !== wanted) {
      throw new FileError(
        `${this.#file}: ${quote(gguf)} has statistics of ${columns} columns, the model's matrix has ${wanted}. ${OTHER_MODEL}.`,
      );
    }
    if (this.#importance.has(target.name)) throw new FileError(`${this.#file}: ${quote(gguf)} is there twice.`);
  }

  /** The sums of x² of `count` tokens, column by column. */
  add(gguf: string, sums: Float32Array, count: number): void {
    const bad = sums.findIndex((x) => !(x >= 0 && x < Number.POSITIVE_INFINITY));
    if (bad >= 0) {
      throw new FileError(
        `${this.#file}: column ${bad} of ${quote(gguf)} has a sum of ${sums[bad]}; sums of squares are finite and not negative.`,
      );
    }
    if (!(count >= 0 && count < Number.POSITIVE_INFINITY)) {
      throw new FileError(`${this.#file}: ${quote(gguf)} has a count of ${count}; it is a number of tokens.`);
    }
    // A file holds counts as f32; below one half of a token it is none.
    const tokens = Math.round(count);
    this.#importance.set(
      this.#target(gguf).name,
      sums.map((x) => (tokens === 0 ? 1 : x / tokens)),
    );
  }

  finish(datasets: readonly string[], chunkCount: number, chunkSize: number): Imatrix {
    for (const { name, role } of this.#targets.values()) {
      if (role === 'linear' && !this.#importance.has(name)) {
        throw new FileError(
          `${this.#file}: it has no statistics of ${quote(name)}. ${OTHER_MODEL}, or of a part of it.`,
        );
      }
    }
    return { importance: this.#importance, datasets, chunkCount, chunkSize };
  }

  #target(gguf: string): ImatrixTarget {
    const target = this.#targets.get(huggingFaceName(gguf) ?? '');
    if (target) return target;
    throw new FileError(`${this.#file}: the model has no matrix ${quote(gguf)}. ${OTHER_MODEL}.`);
  }
}
