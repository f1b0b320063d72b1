import { Scratch } from '../../gpu/scratch.ts';
import type { ValueName } from '../../graph/graph.ts';
import { scaleSymmetricStep } from '../../kernels/permute.ts';
import type { StatisticsSource } from '../calibration/statistics.ts';

/** Statistics of a model as they are once its inputs are divided by factors, f32 [k] each. */
export function scaledStatistics(
  source: StatisticsSource,
  factors: ReadonlyMap<ValueName, Float32Array>,
): StatisticsSource {
  return {
    ...source,
    async load(gpu, group, signal) {
      const statistics = await source.load(gpu, group, signal);
      const given = factors.get(group.input);
      if (!given) return statistics;
      const inverse = given.map((factor) => 1 / factor);
      const { hessian } = statistics;
      if (hessian) {
        const scratch = new Scratch(gpu);
        try {
          await gpu.scheduler.run([
            scaleSymmetricStep({ matrix: hessian, factors: scratch.upload(inverse, 'factors'), n: group.k }),
          ]);
        } finally {
          scratch.release();
        }
      }
      return {
        hessian,
        async columns() {
          const { meanAbs, meanSquare, absMax, mean } = await statistics.columns();
          return {
            ...(mean && { mean: mean.map((value, i) => value * inverse[i]!) }),
            meanAbs: meanAbs.map((value, i) => value * inverse[i]!),
            meanSquare: meanSquare.map((value, i) => value * inverse[i]! ** 2),
            absMax: absMax.map((value, i) => value * inverse[i]!),
          };
        },
        release: () => statistics.release(),
      };
    },
  };
}
