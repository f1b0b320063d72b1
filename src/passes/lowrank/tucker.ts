import { ArgumentError } from '../../errors.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { gemmScratch, gemmSteps, type Operand } from '../../kernels/gemm.ts';
import { wrapDense } from '../../kernels/weight.ts';
import { relativeError } from '../factorize/factor-arithmetic.ts';
import { readFloats } from './dense-rows.ts';
import { accurate, type ConvKernel, checkKernel, reordered } from './kernel-factors.ts';
import { type Svd, type SvdOptions, svd } from './svd.ts';

/** The ranks, when to stop, and what `SvdOptions` has of cancellation and names. */
export interface TuckerOptions extends Pick<SvdOptions, 'signal' | 'name'> {
  /** Channels that come out of the core, and that go into it. */
  readonly ranks: readonly [outputs: number, inputs: number];
  /** Rounds at most; default 25. */
  readonly rounds?: number;
  /** Of the random numbers; default 0. */
  readonly seed?: number;
}

/** Three convolutions in the place of one, to be run in their order. */
export interface TuckerFactors {
  /** [inputs of the core, inputs, 1, 1] */
  readonly first: ConvKernel;
  /** [outputs of the core, inputs of the core, height, width] */
  readonly core: ConvKernel;
  /** [outputs, outputs of the core, 1, 1] */
  readonly last: ConvKernel;
  /** ‖W − Ŵ‖ / ‖W‖ (Frobenius) of what they compute together. */
  readonly error: number;
  /** Rounds that it took. */
  readonly rounds: number;
}

const ROUNDS = 25;
/** The core's sum of squares grows by less than that share of the kernel's: it is where it will be. */
const SETTLED = 1e-7;

/**
 * A convolution between two of single pixels (Tucker-2: Kim et al. 2016): orthonormal bases of output and input channels, and the core that the kernel has in them, by higher-order orthogonal iteration (De Lathauwer, De Moor, Vandewalle 2000): each
 * basis in turn is that of the SVD of the kernel in the other, from the SVD of the kernel on. Strides and padding go to the core.
 * @throws ArgumentError for shapes and ranks that make no sense; NonFiniteError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function tuckerFactors(gpu: Gpu, kernel: ConvKernel, options: TuckerOptions): Promise<TuckerFactors> {
  const { name = 'the kernel', signal, seed = 0, rounds: most = ROUNDS, ranks } = options;
  const [outputs, inputs, height, width] = checkKernel(kernel, name);
  const pixels = height * width;
  checkRanks(ranks, [outputs, inputs], pixels, name);
  const [high, wide] = ranks;
  const how = { seed, name, ...(signal && { signal }) };
  const run = { label: 'The factorization', ...(signal && { signal }) };
  const scratch = new Scratch(gpu);
  const bases: Svd[] = [];
  const parts = scratch.room(
    Math.max(
      ...[4, gemmScratch(outputs * pixels, wide, inputs), gemmScratch(inputs * pixels, high, outputs)],
      ...[gemmScratch(high, pixels * wide, outputs), gemmScratch(outputs, pixels * wide, high)],
      gemmScratch(outputs * pixels, inputs, wide),
    ),
    'parts',
  );
  const product = (a: Operand, b: Operand, c: BufferView, rows: number, columns: number, inner: number) =>
    gpu.scheduler.run(
      gemmSteps({
        ...{ a, b, c: { ...c, width: columns }, rows, columns, inner },
        scratch: parts,
      }),
      run,
    );
  /** The basis of rows of a matrix, in place of the last one of that side. */
  const basisOf = async (buffer: GPUBuffer, rows: number, columns: number, rank: number): Promise<Svd> => {
    const found = await svd(gpu, wrapDense(buffer, rows, columns), { ...how, ...accurate(rank) });
    bases.push(found);
    return found;
  };
  try {
    // As matrices of either kind of channel by the rest: [outputs, pixels, inputs], [inputs, pixels, outputs].
    const byOutput = reordered(kernel.values, kernel.shape, [0, 2, 3, 1]);
    const a = scratch.upload(byOutput, 'kernel by outputs');
    const b = scratch.upload(reordered(kernel.values, kernel.shape, [1, 2, 3, 0]), 'kernel by inputs');
    const inInputs = scratch.room(4 * outputs * pixels * wide, 'kernel in the basis of inputs');
    const inOutputs = scratch.room(4 * inputs * pixels * high, 'kernel in the basis of outputs');
    const all = byOutput.reduce((sum, value) => sum + value * value, 0);
    let input = await basisOf(b.buffer, inputs, pixels * outputs, wide);
    let output: Svd;
    let kept = 0;
    let rounds = 0;
    for (;;) {
      rounds++;
      await product({ ...a, width: inputs }, { ...input.u, width: wide }, inInputs, outputs * pixels, wide, inputs);
      output = await basisOf(inInputs.buffer, outputs, pixels * wide, high);
      const now = output.singularValues.reduce((sum, value) => sum + value * value, 0);
      const settled = now - kept <= SETTLED * all;
      kept = now;
      if (settled || rounds >= most) break;
      await product({ ...b, width: outputs }, { ...output.u, width: high }, inOutputs, inputs * pixels, high, outputs);
      input = await basisOf(inOutputs.buffer, inputs, pixels * high, wide);
      for (const old of bases.splice(0, bases.length - 2)) old.release();
    }
    // [high, pixels, wide]
    const core = scratch.room(4 * high * pixels * wide, 'core');
    const outputBasis = { ...output.u, width: high };
    await product(
      { ...outputBasis, transposed: true },
      { ...inInputs, width: pixels * wide },
      core,
      ...([high, pixels * wide, outputs] as const),
    );
    const half = scratch.room(4 * outputs * pixels * wide, 'core in all outputs');
    const made = scratch.room(4 * outputs * pixels * inputs, 'reconstruction');
    await product(outputBasis, { ...core, width: pixels * wide }, half, outputs, pixels * wide, high);
    await product(
      { ...half, width: wide },
      { ...input.u, width: wide, transposed: true },
      made,
      ...([outputs * pixels, inputs, wide] as const),
    );
    const asMatrix = (buffer: GPUBuffer) => wrapDense(buffer, outputs, pixels * inputs);
    const error = await relativeError(gpu, asMatrix(a.buffer), asMatrix(made.buffer), undefined);
    const firsts = await readFloats(gpu, input.u, inputs * wide);
    return {
      first: { values: reordered(firsts, [inputs, wide, 1, 1], [1, 0, 2, 3]), shape: [wide, inputs, 1, 1] },
      core: {
        values: reordered(await readFloats(gpu, core, high * pixels * wide), [high, height, width, wide], [0, 3, 1, 2]),
        shape: [high, wide, height, width],
      },
      last: { values: await readFloats(gpu, output.u, outputs * high), shape: [outputs, high, 1, 1] },
      ...{ error: Math.sqrt(error), rounds },
    };
  } finally {
    for (const basis of bases) basis.release();
    scratch.release();
  }
}

function checkRanks(
  ranks: readonly [number, number],
  channels: readonly [number, number],
  pixels: number,
  name: string,
): void {
  for (const [i, rank] of ranks.entries()) {
    const most = Math.min(channels[i]!, pixels * ranks[1 - i]!);
    if (Number.isInteger(rank) && rank >= 1 && rank <= most) continue;
    throw new ArgumentError(
      `The ranks of ${name} are ${ranks.join(' and ')}: give whole numbers from 1 to ${channels.join(' and ')}, neither above ${pixels} times the other.`,
    );
  }
}
