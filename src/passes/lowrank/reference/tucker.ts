import { symmetricEigen } from './symmetric-eigen.ts';

/**
 * What Tucker-2 of a kernel [outputs, inputs, pixels] leaves out at least, ‖W − Ŵ‖, in f64: higher-order orthogonal iteration (De Lathauwer, De Moor, Vandewalle 2000) with the eigenvectors of Gram matrices, from those of the kernel
 * on, for so many rounds.
 */
export function tuckerError(
  values: ArrayLike<number>,
  [outputs, inputs, pixels]: readonly [number, number, number],
  [high, wide]: readonly [number, number],
  rounds = 100,
): number {
  // Unfolded: a row for each channel of one kind.
  const byInput = Float64Array.from({ length: values.length }, (_, at) => {
    const [input, rest] = [Math.floor(at / (outputs * pixels)), at % (outputs * pixels)];
    const [output, pixel] = [Math.floor(rest / pixels), rest % pixels];
    return values[(output * inputs + input) * pixels + pixel]!;
  });
  const all = byInput.reduce((sum, value) => sum + value * value, 0);
  let basis = basisOf(byInput, inputs, outputs * pixels, wide);
  let kept = 0;
  for (let round = 0; round < rounds; round++) {
    // [outputs, pixels · wide], then [inputs, pixels · high].
    const inInputs = project(
      values,
      outputs,
      inputs,
      pixels,
      basis.vectors,
      wide,
      (o, i, p) => (o * inputs + i) * pixels + p,
    );
    const output = basisOf(inInputs, outputs, pixels * wide, high);
    kept = output.kept;
    const inOutputs = project(
      byInput,
      inputs,
      outputs,
      pixels,
      output.vectors,
      high,
      (i, o, p) => (i * outputs + o) * pixels + p,
    );
    basis = basisOf(inOutputs, inputs, pixels * high, wide);
  }
  return Math.sqrt(Math.max(0, all - Math.max(kept, basis.kept)));
}

/** The leading left singular vectors of x [rows, columns], [rows, rank], and the sum of squares of their values. */
function basisOf(x: ArrayLike<number>, rows: number, columns: number, rank: number) {
  const gram = new Float64Array(rows * rows);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < rows; j++) {
      for (let k = 0; k < columns; k++) gram[i * rows + j]! += x[i * columns + k]! * x[j * columns + k]!;
    }
  }
  const { values, vectors } = symmetricEigen(gram, rows);
  return {
    kept: values.slice(0, rank).reduce((sum, value) => sum + value, 0),
    vectors: Float64Array.from(
      { length: rows * rank },
      (_, at) => vectors[Math.floor(at / rank) * rows + (at % rank)]!,
    ),
  };
}

/** Σ over the second kind of channel of x · basis: [first, pixels, rank]. */
function project(
  x: ArrayLike<number>,
  first: number,
  second: number,
  pixels: number,
  basis: Float64Array,
  rank: number,
  place: (first: number, second: number, pixel: number) => number,
): Float64Array {
  const made = new Float64Array(first * pixels * rank);
  for (let a = 0; a < first; a++) {
    for (let p = 0; p < pixels; p++) {
      for (let r = 0; r < rank; r++) {
        let sum = 0;
        for (let b = 0; b < second; b++) sum += x[place(a, b, p)]! * basis[b * rank + r]!;
        made[(a * pixels + p) * rank + r] = sum;
      }
    }
  }
  return made;
}
