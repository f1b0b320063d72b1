import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import * as v from 'valibot';
import { expect, test } from 'vitest';
import { registerFactorize } from '../../../src/cli/factorize.ts';
import { FactorizeOutputSchema } from '../../../src/cli/output-schemas.ts';
import { ArgumentError, CancelledError, FileError, FormatError, ModelError } from '../../../src/errors.ts';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { memoryOutput, memorySink } from '../../../src/files/sink.ts';
import { gemm } from '../../../src/kernels/reference/gemm.ts';
import { openModel } from '../../../src/model.ts';
import { imatrixStatistics } from '../../../src/passes/calibration/imatrix.ts';
import { compress } from '../../../src/passes/compress.ts';
import { type FactorizeOptions, factorize } from '../../../src/passes/factorize/factorize.ts';
import { singularValues } from '../../../src/passes/lowrank/reference/singular-values.ts';
import { checkWeight, findWeight, readValues } from '../../../src/passes/stored-weight.ts';
import { verify } from '../../../src/verify/verify.ts';
import { catchOutput } from '../cli-bench.ts';
import { gaussian, generator, openBench } from '../layers/bench.ts';
import { modelFolder, smallConfig, windowsOf } from '../small-model.ts';

const bench = openBench();
const norm = (values: ArrayLike<number>) => Math.sqrt(Array.from(values).reduce((sum, value) => sum + value ** 2, 0));

/** Lets a model be written, and reads it as what it is. */
async function factored(options: Omit<FactorizeOptions, 'gpu'>, settings = smallConfig()) {
  const model = await modelFolder(settings);
  const output = memoryOutput();
  const report = await factorize(model.open(), output, { gpu: bench.gpu, ...options });
  const open = () => memoryFolder('factorized', Object.fromEntries(output.files));
  const checkpoint = await openCheckpoint(open(), { checkWeight });
  const matrix = async (name: string) => {
    const [left, right] = [findWeight(checkpoint, `${name}.left`), findWeight(checkpoint, `${name}.right`)];
    const rank = left.shape[1]!;
    const [rows, columns] = [left.shape[0]!, right.shape[1]!];
    const [a, b] = [await readValues(checkpoint, left), await readValues(checkpoint, right)];
    return gemm({ values: a, width: rank }, { values: b, width: columns }, rows, columns, rank);
  };
  return { model, output, report, open, checkpoint, matrix };
}

const logitsOf = async (open: ReturnType<typeof memoryFolder>, tokens: Uint32Array) => {
  const model = await openModel(open, { gpu: bench.gpu });
  try {
    const { logits } = await model.decoder.forward(tokens);
    return new Float32Array((await bench.gpu.readBack(logits.buffer, 0, logits.size)).buffer);
  } finally {
    await model.close();
  }
};

test('each matrix becomes the nearest product of its rank, and takes part as two products', async () => {
  const progress: number[] = [];
  const { model, report, matrix, checkpoint, open } = await factored({
    keep: 0.6,
    onProgress: (done, total) => progress.push(done / total),
  });
  expect(progress.at(-1)).toBe(1);
  expect(progress).toEqual(progress.toSorted((one, other) => one - other));
  expect(report.matrices).toHaveLength(14);
  let [before, after] = [0, 0];
  for (const { name, shape, rank, error } of report.matrices) {
    const [rows, columns] = shape;
    expect(rank).toBe(Math.floor((0.6 * rows * columns) / (rows + columns)));
    before += rows * columns;
    after += rank! * (rows + columns);
    const exact = model.values(name);
    const made = await matrix(name);
    const least = norm(singularValues(exact, rows, columns).slice(rank!));
    const lost = norm(made.map((value, i) => value - exact[i]!));
    // What a truncated SVD in f32 adds to the least error.
    expect(lost, name).toBeLessThanOrEqual(1.01 * least);
    expect(Math.abs(error - (lost / norm(exact)) ** 2)).toBeLessThanOrEqual(2e-3);
  }
  expect(report.parameters).toEqual({ before, after });
  expect(checkpoint.tree?.weights.get('model.layers.0.mlp.up_proj.weight')).toMatchObject({ kind: 'low-rank' });
  // The model says what one does whose matrices are the products.
  const products = new Map<string, Float64Array>();
  for (const { name } of report.matrices) products.set(name, await matrix(name));
  const dense = await modelFolder(smallConfig(), (name, values) => {
    const product = products.get(name);
    if (product) values.set(product);
  });
  const tokens = windowsOf(101)[0]!;
  const [mine, theirs] = [await logitsOf(open(), tokens), await logitsOf(dense.open(), tokens)];
  // Two products instead of one, in f32, through two layers.
  expect(norm(mine.map((value, i) => value - theirs[i]!))).toBeLessThanOrEqual(2e-5 * norm(theirs));
  await checkpoint.close();
});

test('verify runs it, compress quantizes the factors, and what has no place for them refuses', async () => {
  const { model, open, checkpoint, report } = await factored({ rank: 32 });
  // 32 (64 + 64) is no less than 64 · 64.
  const rankOf = (name: string) => report.matrices.find((matrix) => matrix.name === name)!.rank;
  expect(rankOf('model.layers.1.self_attn.o_proj.weight')).toBeNull();
  expect(rankOf('model.layers.1.mlp.up_proj.weight')).toBe(32);
  const original = await openCheckpoint(model.open());
  const tokens = new Uint16Array(windowsOf(101).flatMap((window) => [...window]));
  const { accuracy, size } = await verify(original, checkpoint, {
    ...{ gpu: bench.gpu, tokens, windows: 4, window: 24, speed: false },
  });
  expect(accuracy!.perplexity.compressed).toBeGreaterThan(0);
  expect(size.unpaired).toEqual({ original: [], compressed: [] });
  const up = size.tensors.find(({ name }) => name === 'model.layers.1.mlp.up_proj.weight')!;
  expect(up).toMatchObject({ format: 'f32, rank 32', shape: [96, 64], compressed: 4 * 32 * (96 + 64) });
  const { error } = report.matrices.find(({ name }) => name === up.name)!;
  expect(Math.abs(up.relativeError! ** 2 - error)).toBeLessThanOrEqual(1e-4);
  await Promise.all([original.close(), checkpoint.close()]);

  const output = memoryOutput();
  await compress(open(), output, { gpu: bench.gpu, format: 'int8-g32' });
  const quantized = await openCheckpoint(memoryFolder('quantized', Object.fromEntries(output.files)), { checkWeight });
  expect(quantized.tree?.weights.get('model.layers.1.mlp.up_proj.weight')).toMatchObject({
    ...{ kind: 'low-rank', rank: 32 },
    left: { kind: 'quantized', format: 'int8-g32', shape: [96, 32] },
    right: { kind: 'quantized', format: 'int8-g32', shape: [32, 64] },
  });
  await quantized.close();
  const window = windowsOf(101)[0]!;
  const [mine, theirs] = [
    await logitsOf(memoryFolder('quantized', Object.fromEntries(output.files)), window),
    await logitsOf(open(), window),
  ];
  // Eight bits: about half a percent of each of the matrices.
  expect(norm(mine.map((value, i) => value - theirs[i]!))).toBeLessThanOrEqual(0.03 * norm(theirs));

  const gguf = compress(open(), memorySink('out.gguf'), { gpu: bench.gpu, format: 'keep' });
  await expect(gguf).rejects.toThrow(FormatError);
  const rotated = compress(open(), memoryOutput(), { gpu: bench.gpu, format: 'keep', rotation: { seed: 1 } });
  await expect(rotated).rejects.toThrow(FileError);
  const contained = compress(open(), memoryOutput(), {
    ...{ gpu: bench.gpu, format: 'int4-g32', container: 'compressed-tensors' },
  });
  await expect(contained).rejects.toThrow(FormatError);
});

test('with known inputs the outputs move less than with the nearest product, and ranks follow an energy', async () => {
  const calibration = { windows: windowsOf(101) };
  const plain = await factored({ rank: 12 });
  const whitened = await factored({ rank: 12, calibration });
  // The first input of all is the same in both: H is known from the first matrix's own losses.
  const first = 'model.layers.0.self_attn.q_proj.weight';
  const errorOf = (one: typeof plain) => one.report.matrices.find(({ name }) => name === first)!.error;
  expect(errorOf(whitened)).toBeLessThan(1);
  expect(errorOf(whitened)).not.toBe(errorOf(plain));
  const farFrom = async ({ matrix, model }: typeof plain) => {
    const exact = model.values(first);
    return norm((await matrix(first)).map((value, i) => value - exact[i]!));
  };
  expect(await farFrom(whitened)).toBeGreaterThan(await farFrom(plain));
  await Promise.all([plain.checkpoint.close(), whitened.checkpoint.close()]);

  const { report, checkpoint, model } = await factored({ energy: 0.6 });
  for (const { name, shape, rank } of report.matrices) {
    const values = singularValues(model.values(name), ...shape);
    const energy = (count: number) => norm(values.slice(0, count)) ** 2 / norm(values) ** 2;
    const least = values.findIndex((_, i) => energy(i + 1) >= 0.6) + 1;
    if (least * (shape[0] + shape[1]) >= shape[0] * shape[1]) expect(rank, name).toBeNull();
    else expect(rank, name).toBe(least);
  }
  await checkpoint.close();
});

test('a share of the model is shared out by singular values, and inputs may weigh by their sizes alone', async () => {
  const calibration = { windows: windowsOf(101) };
  const shared = await factored({ keep: 0.6, across: 'model', calibration });
  const { before, after } = shared.report.parameters;
  expect(after).toBeLessThanOrEqual(0.6 * before);
  // What the last rank that fits leaves.
  expect(after).toBeGreaterThan(0.6 * before - 2 * (96 + 64));
  const each = await factored({ keep: 0.6, calibration });
  const ranks = ({ report }: typeof each) => report.matrices.map(({ rank }) => rank);
  expect(ranks(shared)).not.toEqual(ranks(each));
  const whole = await factored({ rank: 12, calibration });
  const columns = await factored({ rank: 12, calibration, whiten: 'columns' });
  // Of the first matrix, whose inputs are the same in both, all of H leaves the least.
  const first = 'model.layers.0.self_attn.q_proj.weight';
  const [least, more] = [whole, columns].map(({ report }) => report.matrices.find(({ name }) => name === first)!.error);
  expect(more).toBeGreaterThan(least!);
  expect(more).toBeLessThan(1);
  for (const { checkpoint } of [shared, each, whole, columns]) await checkpoint.close();
});

test('columns are weighed by what a file says of them, sums of Fisher information say', async () => {
  const model = await modelFolder(smallConfig());
  const names = (await factored({ rank: 12 })).report.matrices.map(({ name, shape }) => [name, shape] as const);
  const importance = new Map(
    names.map(([name, [, columns]]) => {
      // Matrices with the same inputs share what is known of them.
      const next = generator(/self_attn\.[qkv]/.test(name) ? 4 : /gate|up/.test(name) ? 5 : 6);
      return [name, Float32Array.from({ length: columns }, () => Math.exp(3 * gaussian(next)))];
    }),
  );
  const statistics = imatrixStatistics('fisher.gguf', { importance, datasets: [], chunkCount: 1, chunkSize: 1 });
  const [plain, weighed] = [await factored({ rank: 12 }), await factored({ rank: 12, statistics })];
  for (const [name, [, columns]] of names) {
    const squares = importance.get(name)!;
    const original = model.values(name);
    const lost = (matrix: ArrayLike<number>) =>
      Array.from(matrix).reduce((sum, value, i) => sum + squares[i % columns]! * (value - original[i]!) ** 2, 0);
    const [mine, theirs] = [lost(await weighed.matrix(name)), lost(await plain.matrix(name))];
    expect(mine, name).toBeLessThan(0.9 * theirs);
  }
  await Promise.all([plain.checkpoint.close(), weighed.checkpoint.close()]);
});

test('a budget of time is measured: factors that are no faster are not made, and the model computes', async () => {
  const model = await modelFolder(smallConfig());
  const output = memoryOutput();
  // How fast small matrices are is the device's: where none pays, that is said.
  const written = await factorize(model.open(), output, {
    ...{ gpu: bench.gpu, keep: 0.5, across: 'model', budget: 'time' },
  }).catch((error: unknown) => error as Error);
  if (written instanceof Error) {
    expect(written).toBeInstanceOf(ModelError);
    expect(output.files.size).toBe(0);
    return;
  }
  for (const { name, rank, shape } of written.matrices) {
    if (rank === null) expect(written.notices.some((notice) => notice.includes(name))).toBe(true);
    else expect(rank * (shape[0] + shape[1])).toBeLessThan(shape[0] * shape[1]);
  }
  const open = memoryFolder('factorized', Object.fromEntries(output.files));
  const logits = await logitsOf(open, windowsOf(101)[0]!.subarray(0, 9));
  expect(logits.every(Number.isFinite)).toBe(true);
});

test('what makes no sense is refused, and nothing is left', async () => {
  const { open } = await modelFolder(smallConfig());
  const inUse = bench.gpu.memory.bytesInUse;
  const refuse = async (options: Omit<FactorizeOptions, 'gpu'>) => {
    const output = memoryOutput();
    const error = await factorize(open(), output, { gpu: bench.gpu, ...options }).catch((caught: unknown) => caught);
    expect(output.files.size).toBe(0);
    expect(bench.gpu.memory.bytesInUse).toBe(inUse);
    return error as Error;
  };
  expect(await refuse({})).toBeInstanceOf(ArgumentError);
  expect(await refuse({ keep: 0.5, rank: 3 })).toBeInstanceOf(ArgumentError);
  expect((await refuse({ keep: 0.5, budget: 'time' })).message).toContain('across the model');
  expect((await refuse({ keep: 1 })).message).toContain('The share to keep is 1');
  expect((await refuse({ rank: 0 })).message).toContain('The rank is 0');
  expect((await refuse({ energy: 1.5 })).message).toContain('The energy is 1.5');
  const dense = await refuse({ rank: 60 });
  expect(dense).toBeInstanceOf(ModelError);
  expect(dense.message).toContain('no matrix is factored');
  expect(await refuse({ rank: 4, signal: AbortSignal.abort() })).toBeInstanceOf(CancelledError);
  const stop = new AbortController();
  const late = await refuse({ rank: 4, signal: stop.signal, onProgress: (done) => done === 2 && stop.abort() });
  expect(late).toBeInstanceOf(CancelledError);
});

const caught = catchOutput({ printed: '', said: '' });

test('compressa factorize writes a folder, and refuses what it should', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'compressa-factorize-'));
  try {
    const input = join(folder, 'in.safetensors');
    const source = await (await modelFolder(smallConfig())).open().open('model.safetensors');
    await writeFile(input, await source.read(0, source.size));
    const run = (...args: string[]) => {
      const program = new Command().exitOverride();
      registerFactorize(program);
      return program.parseAsync(['factorize', ...args], { from: 'user' });
    };
    const out = join(folder, 'out.safetensors');
    await run(input, '-o', out, '--keep', '0.5', '--match', '*up_proj*', '--json');
    const document = JSON.parse(caught.printed);
    expect(v.safeParse(FactorizeOutputSchema, document).issues).toBeUndefined();
    expect(document.matrices).toHaveLength(2);
    await expect(run(input, '-o', out, '--keep', '0.5')).rejects.toThrow(/exists/);
    await expect(run(input, '-o', join(folder, 'x.gguf'), '--keep', '0.5')).rejects.toThrow(/GGUF/);
    await expect(run(input, '-o', join(folder, 'x'), '--keep', '')).rejects.toThrow(/share to keep/);
    await expect(run(input, '-o', join(folder, 'x'), '--keep', '0.5', '--whiten')).rejects.toThrow(/--whiten needs/);
    const none = ['--imatrix', join(folder, 'none.gguf')];
    await expect(run(input, '-o', join(folder, 'x'), '--keep', '0.5', ...none)).rejects.toThrow(/in\.safetensors/);
    await expect(run(input, '-o', join(folder, 'x'), '--keep', '0.5', '--whiten', 'hessian', ...none)).rejects.toThrow(
      /columns only/,
    );
    expect((await readdir(folder)).sort()).toEqual(['in.safetensors', 'out.safetensors']);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
