import { readFileSync } from 'node:fs';
import {
  type ContainerName,
  compress,
  dequantizedWeights,
  graphOf,
  memoryFolder,
  memoryOutput,
  nodeFolder,
  openCheckpoint,
} from 'compressa';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';
import { decodeMlx, decodePackQuantized, readFile } from '../container-decoders.ts';

const FORMATS = ['int8-g64', 'int4-g64', 'int4-g128-asym', 'int3-g64', 'int3-g64-asym', 'int2-g32-asym'];

/** The sample model in other stacks' containers, decoded as those say, against the same formats in our own files. */
export const claim: Claim = {
  name: 'containers',
  async measure(gpu) {
    const graph = graphOf(JSON.parse(readFileSync(`${SAMPLE_MODEL}/config.json`, 'utf8')), 'config.json');
    const linear = graph.weights.filter(({ role }) => role === 'linear').map(({ name }) => name);
    const written = async (format: string, container?: ContainerName) => {
      const output = memoryOutput();
      await compress(await nodeFolder(SAMPLE_MODEL), output, { gpu, format, ...(container && { container }) });
      return output.files;
    };
    const results: Measurement[] = [];
    for (const format of FORMATS) {
      const own = await openCheckpoint(memoryFolder('own', Object.fromEntries(await written(format))));
      const wanted = await dequantizedWeights(own, graph);
      for (const container of ['compressed-tensors', 'mlx'] as const) {
        const files = await written(format, container);
        const { tensors } = readFile(files.get('model.safetensors')!);
        const config = JSON.parse(new TextDecoder().decode(files.get('config.json')));
        let [different, all, error, size] = [0, 0, 0, 0];
        for (const name of linear) {
          const module = name.replace(/\.weight$/, '');
          const got =
            container === 'mlx'
              ? decodeMlx(tensors, module, config.quantization)
              : decodePackQuantized(tensors, module, config.quantization_config.config_groups.group_0.weights.num_bits);
          for (const [i, weight] of wanted(name).entries()) {
            if (Math.fround(got[i]!) !== weight) different++;
            error += (got[i]! - weight) ** 2;
            size += weight ** 2;
            all++;
          }
        }
        const relative = Math.sqrt(error / size);
        // A rounded offset moves a weight by up to 2^-11 of it.
        const rounds = container === 'mlx' && format.endsWith('-asym');
        results.push({
          claim: `${format} in ${container}: weights that differ`,
          threshold: rounds ? 'relative error under 0.001' : '0',
          measured: rounds ? `relative error ${relative.toExponential(1)}` : `${different} of ${all}`,
          pass: all > 0 && (rounds ? relative < 1e-3 : different === 0),
        });
      }
      await own.close();
    }
    return results;
  },
};
