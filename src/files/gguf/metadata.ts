import { ModelError } from '../../errors.ts';
import { quote } from '../text.ts';
import type { GgufFile } from './read.ts';

/** Reads scalar metadata of a file by key, with the types checked. */
export class Metadata {
  readonly #file: GgufFile;
  constructor(file: GgufFile) {
    this.#file = file;
  }

  /** @throws ModelError for a value that is no finite number, or no exact integer */
  number(key: string): number | undefined {
    const entry = this.#file.scalars.get(key);
    if (!entry) {
      if (!this.#file.arrays.has(key)) return undefined;
      throw new ModelError(
        `${this.#file.name}: ${key} has a value for each layer; models are read whose layers are all alike.`,
      );
    }
    const { value } = entry;
    const number = typeof value === 'bigint' ? Number(value) : value;
    const exact = typeof value !== 'bigint' || Number.isSafeInteger(number);
    if (typeof number !== 'number' || !Number.isFinite(number) || !exact) {
      throw new ModelError(
        `${this.#file.name}: ${key} is ${quote(String(value))}, which is no number. Convert it again.`,
      );
    }
    return number;
  }

  /** @throws ModelError also where there is none */
  required(key: string): number {
    const value = this.number(key);
    if (value === undefined) {
      throw new ModelError(
        `${this.#file.name}: the metadata lacks ${key}, without which it can't be run. Convert it again.`,
      );
    }
    return value;
  }

  string(key: string): string | undefined {
    const value = this.#file.scalars.get(key)?.value;
    return typeof value === 'string' ? value : undefined;
  }

  boolean(key: string): boolean | undefined {
    const value = this.#file.scalars.get(key)?.value;
    return typeof value === 'boolean' ? value : undefined;
  }
}

/** An f32 as the shortest decimal that means it: 0.00001, not 0.000009999999747378752. */
export function shortest(x: number): number {
  if (Math.fround(x) !== x) return x;
  for (let digits = 1; digits < 9; digits++) {
    const decimal = Number(x.toPrecision(digits));
    if (Math.fround(decimal) === x) return decimal;
  }
  return x;
}
