/** Cells that a map has at most, down and across. */
const MOST = { down: 16, across: 32 } as const;

const SHADES = ' ░▒▓█';
const BARS = ' ▁▂▃▄▅▆▇█';

/** Where the weights of a matrix are that are not zero. */
export interface Density {
  /** The share of weights that are zero. */
  readonly zeros: number;
  /** Equal cells of the matrix, row by row: 0 where all weights are zero, f where none is, in fifteenths in between. */
  readonly map: string[];
  /** Of the same columns of cells how much is read through them: the root of the mean square of their weights, in fifteenths of the largest. */
  readonly channels: string;
}

/** Counts zeros of a matrix, some rows at a time, by cells that it is cut into. */
export class DensityCount {
  readonly #rows: number;
  readonly #k: number;
  readonly #down: number;
  readonly #across: number;
  readonly #zeros: Float64Array;
  readonly #all: Float64Array;
  /** Sums of squares, of columns of cells. */
  readonly #squares: Float64Array;
  /** Of each column. */
  readonly #cells: Uint16Array;

  constructor(rows: number, k: number) {
    this.#rows = rows;
    this.#k = k;
    this.#down = Math.min(rows, MOST.down);
    this.#across = Math.min(k, MOST.across);
    this.#zeros = new Float64Array(this.#down * this.#across);
    this.#all = new Float64Array(this.#down * this.#across);
    this.#squares = new Float64Array(this.#across);
    this.#cells = Uint16Array.from({ length: k }, (_, column) => Math.floor((column * this.#across) / k));
  }

  /** Takes consecutive rows. */
  add(rowStart: number, values: Float32Array): void {
    const k = this.#k;
    for (let row = 0; row * k < values.length; row++) {
      const first = Math.floor(((rowStart + row) * this.#down) / this.#rows) * this.#across;
      for (let column = 0; column < k; column++) {
        const cell = first + this.#cells[column]!;
        const value = values[row * k + column]!;
        this.#all[cell]!++;
        if (value === 0) this.#zeros[cell]!++;
        this.#squares[this.#cells[column]!]! += value * value;
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
    const roots = Array.from(this.#squares, (squares, across) => {
      let count = 0;
      for (let cell = across; cell < this.#all.length; cell += this.#across) count += this.#all[cell]!;
      return Math.sqrt(squares / Math.max(1, count));
    });
    const largest = Math.max(...roots, Number.MIN_VALUE);
    const channels = roots.map((root) => Math.round((15 * root) / largest).toString(16)).join('');
    return { zeros: sum(this.#zeros) / Math.max(1, sum(this.#all)), map: lines, channels };
  }
}

/** What is read through columns as a line of bars: the higher, the more. */
export const barred = (channels: string): string =>
  [...channels].map((digit) => BARS[Math.round((Number.parseInt(digit, 16) * (BARS.length - 1)) / 15)]).join('');

/** A map as lines of text: the darker, the more weights that are not zero. */
export const shaded = (map: readonly string[]): string[] =>
  map.map((line) =>
    [...line].map((digit) => SHADES[Math.round((Number.parseInt(digit, 16) * (SHADES.length - 1)) / 15)]).join(''),
  );
