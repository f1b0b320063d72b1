import { readFileSync } from 'node:fs';
import { channelFactors, spatialFactors, tuckerFactors } from 'compressa/low-rank';
import type { Claim, Measurement } from '../claim.ts';
import { kernelSuite, type SuiteKernel } from '../kernel-suite.ts';

type Errors = Readonly<Record<'spatial' | 'channel' | 'tucker', number>>;

const MOST = 1.01;

/** Factorizations of 4-D kernels beside the optimum of the same ranks that numpy gives (Tucker-2: where orthogonal iteration stands still), bench/kernel-golden.json; bench/kernel-golden.ts says how it was made. */
export const claim: Claim = {
  name: 'conv kernels',
  async measure(gpu) {
    const golden: Readonly<Record<string, Errors>> = JSON.parse(
      readFileSync(new URL('../kernel-golden.json', import.meta.url), 'utf8'),
    );
    const ways: Readonly<Record<keyof Errors, (kernel: SuiteKernel) => Promise<{ readonly error: number }>>> = {
      spatial: (kernel) => spatialFactors(gpu, kernel, { rank: kernel.spatial }),
      channel: (kernel) => channelFactors(gpu, kernel, { rank: kernel.channel }),
      tucker: (kernel) => tuckerFactors(gpu, kernel, { ranks: kernel.tucker }),
    };
    const results: Measurement[] = [];
    for (const [way, factor] of Object.entries(ways) as [keyof Errors, (typeof ways)[keyof Errors]][]) {
      const ratios: { readonly name: string; readonly ratio: number }[] = [];
      for (const kernel of kernelSuite()) {
        ratios.push({ name: kernel.name, ratio: (await factor(kernel)).error / golden[kernel.name]![way] });
      }
      const worst = ratios.reduce((most, one) => (one.ratio > most.ratio ? one : most));
      results.push({
        claim: `${way}: error beside the optimum of the same ranks, of ${ratios.length} kernels`,
        threshold: `at most ${MOST}`,
        measured: `${worst.ratio.toFixed(5)} at most (${worst.name})`,
        pass: worst.ratio <= MOST,
      });
    }
    return results;
  },
};
