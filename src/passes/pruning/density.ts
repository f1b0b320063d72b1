/** Cells that a map has at most, down and across. */
const MOST = { down: 16, across: 32 } as const;

const SHADES = ' ░▒▓█';

/** Where the weights of a matrix are that are not zero. */
export interface Density {
  /** The share of weights that are zero. */
  readonly zeros: number;
  /** Equal cells of the matrix, row by row: 0 where all weights are zero, f where none is, in fifteenths in between. */
  readonly map: string[];
}

/** Counts zeros of a matrix, some rows at a time, by cells that it is cut into. */
export class DensityCount {
  readonly #rows: number;
  readonly #k: number;
  readonly #down: number;
  readonly #across: number;
  readonly #zeros: Float64Array;
  readonly #all: Float64Array;
  /** Of each column. */
  readonly #cells: Uint16Array;

  constructor(rows: number, k: number) {
    this.#rows = rows;
    this.#k = k;
    this.#down = Math.min(rows, MOST.down);
    this.#across = Math.min(k, MOST.across);
    this.#zeros = new Float64Array(this.#down * this.#across);
    this.#all = new Float64Array(this.#down * this.#across);
    this.#cells = Uint16Array.from({ length: k }, (_, column) => Math.floor((column * this.#across) / k));
  }

  /** Takes consecutive rows. */
  add(rowStart: number, values: Float32Array): void {
    const k = this.#k;
    for (let row = 0; row * k < values.length; row++) {
      const first = Math.floor(((rowStart + row) * this.#down) / this.#rows) * this.#across;
      for (let column = 0; column < k; column++) {
        const cell = first + this.#cells[column]!;
        this.#all[cell]!++;
        if (values[row * k + column] === 0) this.#zeros[cell]!++;
      }
    }
  }

  get result(): Density {
    const sum = (of: Float64Array) => of.reduce((total, value) => total + value, 0);
    const digits = Array.from(this.#zeros, (zeros, cell) =>
      Math.round(15 * (1 - zeros / Math.max(1, this.#all[cell]!))).toString(16),
    );
    const lines = Array.from({ length: this.#down }, (_, row) =>
      digits.slice(row * this.#across, (row + 1) * this.#across).join(''),
    );
    return { zeros: sum(this.#zeros) / Math.max(1, sum(this.#all)), map: lines };
  }
}

/** A map as lines of text: the darker, the more weights that are not zero. */
export const shaded = (map: readonly string[]): string[] =>
  map.map((line) =>
    [...line].map((digit) => SHADES[Math.round((Number.parseInt(digit, 16) * (SHADES.length - 1)) / 15)]).join(''),
  );
