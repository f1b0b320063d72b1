import { FoundPattern } from './found-pattern.ts';

/** Cells that a map has at most, down and across. */
const MOST = { down: 16, across: 32 } as const;

const SHADES = ' ░▒▓█';
const BARS = ' ▁▂▃▄▅▆▇█';

/** Where the weights of a matrix are that are not zero. */
export interface Density {
  /** The share of weights that are zero. */
  readonly zeros: number;
  /** The N:M pattern that they have, as recipes write it; undefined where they have none. */
  readonly pattern?: string;
  /** Equal cells of the matrix, row by row: 0 where all weights are zero, f where none is, in fifteenths in between. */
  readonly map: string[];
  /** Of the same columns of cells how much is read through them, by the root of the mean square of their weights: 0 for the least, f for the largest, in fifteenths in between. */
  readonly channels: string;
  /** The least of them over the largest. */
  readonly least: number;
  /** Of single columns the same, over the largest, falling: at equal steps from the first to the last. */
  readonly columns: number[];
}

/** Points of the curve of columns. */
const MOST_POINTS = 33;

/** Counts zeros of a matrix, some rows at a time, by cells that it is cut into. */
export class DensityCount {
  readonly #rows: number;
  readonly #k: number;
  readonly #down: number;
  readonly #across: number;
  readonly #zeros: Float64Array;
  readonly #all: Float64Array;
  /** Sums of squares, of columns. */
  readonly #squares: Float64Array;
  /** Of each column. */
  readonly #cells: Uint16Array;
  readonly #pattern: FoundPattern;

  constructor(rows: number, k: number) {
    this.#rows = rows;
    this.#k = k;
    this.#down = Math.min(rows, MOST.down);
    this.#across = Math.min(k, MOST.across);
    this.#zeros = new Float64Array(this.#down * this.#across);
    this.#all = new Float64Array(this.#down * this.#across);
    this.#squares = new Float64Array(k);
    this.#pattern = new FoundPattern(k);
    this.#cells = Uint16Array.from({ length: k }, (_, column) => Math.floor((column * this.#across) / k));
  }

  /** Takes consecutive rows. */
  add(rowStart: number, values: Float32Array): void {
    const k = this.#k;
    this.#pattern.add(values);
    for (let row = 0; row * k < values.length; row++) {
      const first = Math.floor(((rowStart + row) * this.#down) / this.#rows) * this.#across;
      for (let column = 0; column < k; column++) {
        const cell = first + this.#cells[column]!;
        const value = values[row * k + column]!;
        this.#all[cell]!++;
        if (value === 0) this.#zeros[cell]!++;
        this.#squares[column]! += value * value;
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
    const k = this.#k;
    const squares = new Float64Array(this.#across);
    const counts = new Uint32Array(this.#across);
    for (const [column, cell] of this.#cells.entries()) {
      squares[cell]! += this.#squares[column]!;
      counts[cell]!++;
    }
    const roots = Array.from(squares, (sum, cell) => Math.sqrt(sum / Math.max(1, counts[cell]!)));
    const [least, largest] = [Math.min(...roots), Math.max(...roots)];
    const channels = roots.map((root) =>
      Math.round(largest > least ? (15 * (root - least)) / (largest - least) : 15).toString(16),
    );
    const falling = this.#squares.toSorted().reverse();
    const points = Math.min(MOST_POINTS, k);
    const columns = Array.from({ length: points }, (_, i) => {
      const square = falling[Math.round((i * (k - 1)) / Math.max(1, points - 1))]!;
      return shortened(Math.sqrt(square / Math.max(falling[0]!, Number.MIN_VALUE)));
    });
    const zeros = sum(this.#zeros) / Math.max(1, sum(this.#all));
    const pattern = this.#pattern.find(zeros);
    return {
      zeros,
      ...(pattern && { pattern }),
      map: lines,
      channels: channels.join(''),
      least: largest > 0 ? shortened(least / largest) : 1,
      columns,
    };
  }
}

const shortened = (value: number): number => Number(value.toPrecision(3));

/** What is read through columns as a line of bars: the higher, the more. */
export const barred = (channels: string): string =>
  [...channels].map((digit) => BARS[Math.round((Number.parseInt(digit, 16) * (BARS.length - 1)) / 15)]).join('');

/** A map as lines of text: the darker, the more weights that are not zero. */
export const shaded = (map: readonly string[]): string[] =>
  map.map((line) =>
    [...line].map((digit) => SHADES[Math.round((Number.parseInt(digit, 16) * (SHADES.length - 1)) / 15)]).join(''),
  );
