import { readFileSync } from 'node:fs';
import {
  compress,
  type Gpu,
  type ModelFiles,
  memoryFolder,
  memoryOutput,
  nodeFolder,
  openCheckpoint,
  openModel,
} from 'compressa';
import { type Claim, SAMPLE_MODEL } from '../claim.ts';

type Files = ReadonlyMap<string, Uint8Array<ArrayBuffer>>;

const WEIGHTS = 'model.safetensors';
const HEAD = 'lm_head.weight';

const folder = (files: Files): ModelFiles => memoryFolder('in memory', Object.fromEntries(files));

/** The logits behind the last token of `prompt`. */
async function lastLogits(gpu: Gpu, files: ModelFiles, prompt: readonly number[]): Promise<Float32Array> {
  const model = await openModel(files, { gpu });
  const { logits } = await model.decoder.forward(prompt);
  const { vocabulary } = model.graph;
  const bytes = await gpu.readBack(logits.buffer, 4 * (prompt.length - 1) * vocabulary, 4 * vocabulary);
  await model.close();
  return new Float32Array(bytes.buffer);
}

/** The sample model in f32, rotated or not. */
async function written(gpu: Gpu, files: ModelFiles, format: string, rotation?: { seed: number; inner: boolean }) {
  const output = memoryOutput();
  const recipe = { version: 1 as const, rules: [{ match: '*', format }], ...(rotation && { rotation }) };
  await compress(files, output, { gpu, recipe });
  return output.files as Files;
}

/** Largest difference of two models' logits, relative to the largest logit. */
const distance = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0) /
  a.reduce((most, x) => Math.max(most, Math.abs(x)), 0);

/** The files of `rotated` with the head of `other`. */
async function withHeadOf(rotated: Files, other: Files): Promise<Files> {
  const [one, two] = [await openCheckpoint(folder(rotated)), await openCheckpoint(folder(other))];
  const weights = rotated.get(WEIGHTS)!.slice();
  weights.set(await two.read(HEAD), one.tensors.get(HEAD)!.offset);
  return new Map([...rotated, [WEIGHTS, weights]]);
}

/** A rotation of the sample model, in f32, leaves what it computes; one half in another basis does not. */
export const claim: Claim = {
  name: 'rotation',
  async measure(gpu) {
    const reference = JSON.parse(readFileSync(`${SAMPLE_MODEL}/REFERENCE.json`, 'utf8'));
    const prompt: number[] = reference.prompt.tokens;
    const top: [number, number][] = reference.prompt['last position, f64'].top10;
    const sample = folder(await written(gpu, await nodeFolder(SAMPLE_MODEL), 'f32'));
    const dense = await lastLogits(gpu, sample, prompt);
    const measurements = [];
    for (const inner of [false, true]) {
      const rotated = await lastLogits(gpu, folder(await written(gpu, sample, 'keep', { seed: 1, inner })), prompt);
      const error = distance(dense, rotated);
      const off = Math.max(...top.map(([id, value]) => Math.abs(rotated[id]! - value)));
      const what = inner ? 'the residual stream and inner activations' : 'the residual stream';
      measurements.push(
        {
          claim: `logits of the prompt with ${what} rotated, against those without`,
          threshold: 'within 1e-4 of the largest',
          measured: error.toExponential(2),
          pass: error <= 1e-4,
        },
        {
          claim: `its ten largest logits against REFERENCE.json, ${what} rotated`,
          threshold: 'within 1e-3',
          measured: off.toExponential(2),
          pass: off <= 1e-3,
        },
      );
    }
    const one = await written(gpu, sample, 'keep', { seed: 1, inner: false });
    const two = await written(gpu, sample, 'keep', { seed: 2, inner: false });
    const mixed = await lastLogits(gpu, folder(await withHeadOf(one, two)), prompt);
    const error = distance(dense, mixed);
    measurements.push({
      claim: 'control: the head with the signs of another seed',
      threshold: 'off by more than 0.1 of the largest',
      measured: error.toExponential(2),
      pass: error > 0.1,
    });
    return measurements;
  },
};
