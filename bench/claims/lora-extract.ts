import {
  type Checkpoint,
  type Gpu,
  memoryFolder,
  memoryOutput,
  memorySink,
  memorySource,
  nodeFolder,
  openCheckpoint,
  readSafetensors,
  writeSafetensors,
} from 'compressa';
import { extractAdapter } from 'compressa/low-rank';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';
import { gaussian, random } from '../random.ts';

const RANK = 8;
/** ‖update‖ as a share of the norm of its matrix, and of the noise as a share of the update's. */
const UPDATE = 0.05;
const NOISE = 1e-4;
const MOST = 2e-3;

interface Matrix {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly base: Float32Array;
  readonly update: Float64Array;
  readonly tuned: Float32Array;
}

/** The linear matrices of the sample model in F32, each with an update of rank 8 and noise. */
async function matricesOf(model: Checkpoint): Promise<Matrix[]> {
  const next = random(71);
  const matrices: Matrix[] = [];
  for (const info of model.tensors.values()) {
    if (!/_proj\.weight$/.test(info.name)) continue;
    const [rows, columns] = info.shape as [number, number];
    const halves = new Uint16Array((await model.read(info)).slice().buffer);
    const base = Float32Array.from(halves, f16);
    const [b, a] = [rows, columns].map((side) => Float64Array.from({ length: side * RANK }, () => gaussian(next)));
    const update = new Float64Array(rows * columns);
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        for (let k = 0; k < RANK; k++) update[i * columns + j]! += b![i * RANK + k]! * a![j * RANK + k]!;
      }
    }
    const scale = (UPDATE * norm(base)) / norm(update);
    const deviate = (NOISE * UPDATE * norm(base)) / Math.sqrt(base.length);
    for (let i = 0; i < update.length; i++) update[i]! *= scale;
    const tuned = base.map((value, i) => value + update[i]! + deviate * gaussian(next));
    matrices.push({ name: info.name, rows, columns, base, update, tuned });
  }
  return matrices;
}

function f16(bits: number): number {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -size : size;
}

function norm(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! ** 2;
  return Math.sqrt(sum);
}

async function checkpointOf(name: string, matrices: readonly (Matrix & { readonly values: Float32Array })[]) {
  const sink = memorySink(name);
  const specs = matrices.map(({ rows, columns, name: tensor }) => ({
    ...{ name: tensor, type: 'F32' as const, shape: [rows, columns] },
  }));
  const writer = await writeSafetensors(sink, specs);
  for (const { name: tensor, values } of matrices) {
    await writer.write(tensor, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  await writer.finish();
  return openCheckpoint(memoryFolder(name, { 'model.safetensors': sink.bytes() }));
}

/** Extracts, and reads the factors back by the names that PEFT looks for. */
async function extracted(gpu: Gpu, base: Checkpoint, tuned: Checkpoint, matrices: readonly Matrix[]) {
  const output = memoryOutput('adapter');
  await extractAdapter(base, tuned, output, { gpu, rank: RANK });
  const file = await readSafetensors(memorySource('adapter', output.files.get('adapter_model.safetensors')!));
  const config = JSON.parse(new TextDecoder().decode(output.files.get('adapter_config.json')!));
  const floats = async (name: string) => new Float32Array((await file.read(name)).slice().buffer);
  let worst = 0;
  for (const { name, rows, columns, update } of matrices) {
    const module = `base_model.model.${name.replace(/\.weight$/, '')}`;
    const [a, b] = [await floats(`${module}.lora_A.weight`), await floats(`${module}.lora_B.weight`)];
    const scaling = config.lora_alpha / config.r;
    let squares = 0;
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        let product = 0;
        for (let k = 0; k < RANK; k++) product += b[i * RANK + k]! * a[k * columns + j]!;
        squares += (scaling * product - update[i * columns + j]!) ** 2;
      }
    }
    const error = Math.sqrt(squares) / norm(update);
    worst = Math.max(worst, Number.isNaN(error) ? Number.POSITIVE_INFINITY : error);
  }
  return { worst, named: file.tensors.size === 2 * matrices.length && config.peft_type === 'LORA' };
}

/** `lora extract` finds a known update of rank 8 of the sample model's matrices again, beside another base, of which it must not. */
export const claim: Claim = {
  name: 'lora extract',
  async measure(gpu): Promise<Measurement[]> {
    const model = await openCheckpoint(await nodeFolder(SAMPLE_MODEL));
    const matrices = await matricesOf(model);
    await model.close();
    const base = await checkpointOf(
      'base',
      matrices.map((matrix) => ({ ...matrix, values: matrix.base })),
    );
    const tuned = await checkpointOf(
      'tuned',
      matrices.map((matrix) => ({ ...matrix, values: matrix.tuned })),
    );
    // The same rows in another order.
    const other = await checkpointOf(
      'another base',
      matrices.map((matrix) => ({ ...matrix, values: turned(matrix) })),
    );
    const found = await extracted(gpu, base, tuned, matrices);
    const control = await extracted(gpu, other, tuned, matrices);
    return [
      {
        claim: `an update of rank ${RANK} of ${matrices.length} matrices, noise of 1e-4: largest relative error`,
        threshold: `at most ${MOST}, factors under PEFT's names`,
        measured: `${found.worst.toExponential(2)}${found.named ? '' : ', other names'}`,
        pass: matrices.length === 56 && found.named && found.worst <= MOST,
      },
      {
        claim: 'the same from another base (control)',
        threshold: `above ${MOST}`,
        measured: control.worst.toPrecision(3),
        pass: control.worst > MOST,
      },
    ];
  },
};

function turned({ base, columns }: Matrix): Float32Array {
  const values = new Float32Array(base.length);
  values.set(base.subarray(columns));
  values.set(base.subarray(0, columns), base.length - columns);
  return values;
}
