import { readFileSync } from 'node:fs';
import {
  compress,
  dequantizedWeights,
  formatByName,
  type Gpu,
  graphOf,
  memoryFolder,
  memoryOutput,
  nodeFolder,
  openCheckpoint,
  quantizeSteps,
  scaleRoomBytes,
  verify,
} from 'compressa';
import { quantizeNf4, quantizeScales } from '../bitsandbytes.ts';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';
import { decodeBitsAndBytes, type FileTensor, floats, readFile } from '../container-decoders.ts';
import { qualityOf, sampleTokens, validationWindows } from '../model-quality.ts';
import { gaussian, random } from '../random.ts';

/**
 * Perplexities of the sample model, 16 windows of REFERENCE.json's protocol, its 56 linear matrices quantized as bitsandbytes says by a numpy
 * program that shares nothing with this one, which ran the model in f32 and in f64 (the same to seven digits).
 */
const NUMPY = { dense: 35.21677, nf4: 35.45113, 'nf4-f32': 35.45 } as const;

/** NF4: codes and scales as bitsandbytes' specification, its file form, and what it costs the sample model. */
export const claim: Claim = {
  name: 'nf4',
  async measure(gpu) {
    const graph = graphOf(JSON.parse(readFileSync(`${SAMPLE_MODEL}/config.json`, 'utf8')), 'config.json');
    const linear = graph.weights.filter(({ role }) => role === 'linear').map(({ name }) => name);
    const original = await openCheckpoint(await nodeFolder(SAMPLE_MODEL));
    const weights = await dequantizedWeights(original, graph);
    const results: Measurement[] = [];
    const files = await written(gpu, 'nf4', 'bitsandbytes');
    const { tensors } = readFile(files.get('model.safetensors')!);
    const sample = new Differences();
    for (const name of linear) sample.compare(weights(name), arraysOf(tensors, name));
    results.push(...sample.results('the sample model'));
    results.push(
      ...(await randomMatrices(gpu, floats(tensors.get(`${linear[0]}.nested_quant_map`)!))).results('random matrices'),
    );
    const dense = await qualityOf(gpu, { format: 'keep' }, validationWindows());
    for (const format of ['nf4', 'nf4-f32'] as const) {
      const own = await openCheckpoint(memoryFolder('own', Object.fromEntries(await written(gpu, format))));
      const wanted = await dequantizedWeights(own, graph);
      const theirs = format === 'nf4' ? files : await written(gpu, format, 'bitsandbytes');
      const file = readFile(theirs.get('model.safetensors')!);
      let [different, all] = [0, 0];
      for (const name of linear) {
        const decoded = decodeBitsAndBytes(file.tensors, name.replace(/\.weight$/, ''));
        for (const [i, weight] of wanted(name).entries()) {
          if (decoded[i] !== weight) different++;
          all++;
        }
      }
      results.push(zero(`${format} in bitsandbytes' files: weights that differ from ours`, different, all));
      const { perplexity, bitsPerWeight } = await qualityOf(gpu, { format }, validationWindows());
      const cost = (x: number, of: number) => `+${(100 * (x / of - 1)).toFixed(3)}%`;
      results.push({
        claim: `${format}: perplexity at ${bitsPerWeight.toFixed(3)} bits a weight`,
        threshold: `numpy's ${NUMPY[format]} (${cost(NUMPY[format], NUMPY.dense)}) within 0.01%`,
        measured: `${perplexity.toFixed(4)} (${cost(perplexity, dense.perplexity)})`,
        pass: Math.abs(perplexity / NUMPY[format] - 1) < 1e-4,
      });
      if (format === 'nf4') {
        const tokens = sampleTokens('validation');
        const { accuracy } = await verify(original, own, { gpu, tokens, windows: 4, speed: false });
        const { ratio } = accuracy!.control!;
        const measured = `${ratio.toFixed(0)}x`;
        results.push({ claim: 'control with shuffled rows', threshold: 'above 20x', measured, pass: ratio > 20 });
      }
      await own.close();
    }
    await original.close();
    return results;
  },
};

async function written(gpu: Gpu, format: string, container?: 'bitsandbytes') {
  const output = memoryOutput();
  await compress(await nodeFolder(SAMPLE_MODEL), output, { gpu, format, ...(container && { container }) });
  return output.files;
}

/** A code for each weight, a byte for each scale, the floats of their blocks, and the map. */
interface Quantized {
  readonly codes: Uint8Array;
  readonly scales: Uint8Array;
  readonly nested: ArrayLike<number>;
  readonly offset: number;
  readonly map: ArrayLike<number>;
}

function arraysOf(tensors: ReadonlyMap<string, FileTensor>, name: string): Quantized {
  const packed = tensors.get(name)!.bytes;
  const state = tensors.get(`${name}.quant_state.bitsandbytes__nf4`)!.bytes;
  return {
    codes: Uint8Array.from({ length: 2 * packed.length }, (_, i) => (packed[i >> 1]! >> (i % 2 === 0 ? 4 : 0)) & 15),
    scales: tensors.get(`${name}.absmax`)!.bytes,
    nested: floats(tensors.get(`${name}.nested_absmax`)!),
    offset: JSON.parse(new TextDecoder().decode(state)).nested_offset,
    map: floats(tensors.get(`${name}.nested_quant_map`)!),
  };
}

const zero = (claim: string, different: number, all: number): Measurement => ({
  claim,
  threshold: '0',
  measured: `${different} of ${all}`,
  pass: all > 0 && different === 0,
});

/** What differs from bitsandbytes' rule. */
class Differences {
  #codes = [0, 0] as [number, number];
  #scales = [0, 0] as [number, number];
  #offset = 0;

  compare(weights: Float32Array, { codes, scales, nested, offset, map }: Quantized): void {
    const { codes: wanted, absmax } = quantizeNf4(weights);
    for (const [i, code] of wanted.entries()) if (codes[i] !== code) this.#codes[0]++;
    this.#codes[1] += wanted.length;
    const mean = absmax.reduce((sum, x) => sum + x, 0) / absmax.length;
    this.#offset = Math.max(this.#offset, Math.abs(offset / mean - 1));
    // In what order a sum of f32 is taken bitsandbytes leaves to its devices, so the rest is under our mean.
    const second = quantizeScales(absmax, offset, map);
    for (const [i, code] of second.codes.entries()) if (scales[i] !== code) this.#scales[0]++;
    for (const [i, x] of second.nested.entries()) if (nested[i] !== x) this.#scales[0]++;
    this.#scales[1] += second.codes.length + second.nested.length;
  }

  results(what: string): Measurement[] {
    return [
      zero(`codes of ${what} that differ from bitsandbytes' rule`, ...this.#codes),
      zero(`scales and nested scales of ${what} that differ`, ...this.#scales),
      {
        claim: `mean of the scales of ${what}, relative to one in f64`,
        threshold: 'within 1e-6',
        measured: this.#offset.toExponential(1),
        pass: this.#offset < 1e-6,
      },
    ];
  }
}

const SHAPES = 50;

/** Matrices of all shapes and sizes of weights, quantized on the GPU as they are there. */
async function randomMatrices(gpu: Gpu, map: ArrayLike<number>): Promise<Differences> {
  const next = random(5);
  const found = new Differences();
  const [source, format] = [formatByName('f32'), formatByName('nf4')];
  for (let shape = 0; shape < SHAPES; shape++) {
    const [rows, k] = [1 + Math.floor(200 * next()), 64 * (1 + Math.floor(12 * next()))];
    const size = 2 ** (20 * next() - 15);
    const weights = Float32Array.from({ length: rows * k }, () => gaussian(next) * size * (next() < 0.01 ? 10 : 1));
    const groups = (rows * k) / 64;
    const room = (bytes: number) => gpu.memory.allocate(Math.ceil(bytes / 4) * 4);
    const [from, bad, codes, scales, nested, scaleRoom] = [
      weights.byteLength,
      4,
      (rows * k) / 2,
      groups,
      8 * Math.ceil(groups / 256),
      scaleRoomBytes(format, rows, k),
    ].map(room) as [GPUBuffer, GPUBuffer, GPUBuffer, GPUBuffer, GPUBuffer, GPUBuffer];
    gpu.upload(from, new Uint8Array(weights.buffer));
    gpu.upload(bad, new Uint8Array(4));
    const to = [codes, scales, nested].map((buffer) => ({ buffer }));
    await gpu.scheduler.run(
      quantizeSteps({
        ...{ source, from: { buffer: from }, format, to, rows, k, bad: { buffer: bad } },
        scaleRoom: { buffer: scaleRoom },
      }),
    );
    const words = await gpu.readBack(codes, 0, (rows * k) / 2);
    const pairs = new Float32Array((await gpu.readBack(nested, 0, 8 * Math.ceil(groups / 256))).slice().buffer);
    found.compare(weights, {
      // Words of eight: four low nibbles, then four high ones.
      codes: Uint8Array.from(weights, (_, i) => (words[(i >> 3) * 4 + (i & 3)]! >> (i & 4)) & 15),
      scales: (await gpu.readBack(scales, 0, Math.ceil(groups / 4) * 4)).subarray(0, groups),
      nested: pairs.filter((_, i) => i % 2 === 0),
      offset: pairs[1]!,
      map,
    });
    for (const buffer of [from, bad, codes, scales, nested, scaleRoom]) gpu.memory.release(buffer);
  }
  return found;
}
