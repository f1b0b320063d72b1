import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import * as v from 'valibot';
import { expect, test } from 'vitest';
import { SvdOutputSchema } from '../../../src/cli/output-schemas.ts';
import { registerSvd } from '../../../src/cli/svd.ts';
import { ArgumentError, CancelledError, NonFiniteError } from '../../../src/errors.ts';
import { encodeBf16, encodeF16 } from '../../../src/files/convert.ts';
import { readSafetensors } from '../../../src/files/safetensors-read.ts';
import { type TensorSpec, writeSafetensors } from '../../../src/files/safetensors-write.ts';
import { memorySink } from '../../../src/files/sink.ts';
import { memorySource } from '../../../src/files/source.ts';
import { gemm } from '../../../src/kernels/reference/gemm.ts';
import { factorFile } from '../../../src/passes/lowrank/factor-file.ts';
import { catchOutput } from '../cli-bench.ts';
import { generator, openBench } from '../layers/bench.ts';
import { deviation, geometric, withSpectrum } from './matrices.ts';

const bench = openBench();
const RANK = 3;

async function fileOf(
  tensors: readonly (TensorSpec & { readonly bytes: Uint8Array })[],
): Promise<Uint8Array<ArrayBuffer>> {
  const sink = memorySink('made.safetensors');
  const writer = await writeSafetensors(sink, tensors, { made: 'here' });
  for (const { name, bytes } of tensors) await writer.write(name, bytes);
  await writer.finish();
  return sink.bytes();
}

const bytesOf = (values: Float32Array | Float64Array | Int32Array) => new Uint8Array(values.buffer);

/** A file with a matrix of each type of floats, and other tensors. */
async function sample() {
  const next = generator(81);
  const matrix = (rows: number, columns: number) => withSpectrum(rows, columns, geometric(RANK, 4), next);
  const matrices = { f64: matrix(20, 30), f32: matrix(33, 9), f16: matrix(12, 12), bf16: matrix(8, 40) };
  const file = await fileOf([
    { name: 'f64', type: 'F64', shape: [20, 30], bytes: bytesOf(Float64Array.from(matrices.f64)) },
    { name: 'norm', type: 'F32', shape: [5], bytes: bytesOf(Float32Array.of(1, 2, 3, 4, 5)) },
    { name: 'f32', type: 'F32', shape: [33, 9], bytes: bytesOf(matrices.f32) },
    { name: 'ids', type: 'I32', shape: [2, 2], bytes: bytesOf(Int32Array.of(1, 2, 3, 4)) },
    { name: 'f16', type: 'F16', shape: [12, 12], bytes: encodeF16(matrices.f16) },
    { name: 'bf16', type: 'BF16', shape: [8, 40], bytes: encodeBf16(matrices.bf16) },
  ]);
  return { file, matrices };
}

async function read(bytes: Uint8Array<ArrayBuffer>) {
  const file = await readSafetensors(memorySource('factors.safetensors', bytes));
  const floats = async (name: string) => new Float32Array((await file.read(name)).slice().buffer);
  return { file, floats };
}

test('every matrix of a file becomes U, S and V, and the rest is copied', async () => {
  const { file: bytes, matrices } = await sample();
  const sink = memorySink('factors.safetensors');
  const progress: number[] = [];
  const made = await factorFile(memorySource('made.safetensors', bytes), sink, {
    ...{ gpu: bench.gpu, rank: RANK },
    onProgress: (done, total) => progress.push(done / total),
  });
  expect(made.map(({ name }) => name)).toEqual(['f64', 'f32', 'f16', 'bf16']);
  expect(progress).toEqual(progress.toSorted((one, other) => one - other));
  expect(progress.at(-1)).toBe(1);
  const { file, floats } = await read(sink.bytes());
  expect(file.metadata).toEqual({ made: 'here' });
  expect([...file.tensors.keys()]).toEqual(
    ['f64.U', 'f64.S', 'f64.V', 'norm', 'f32.U', 'f32.S', 'f32.V', 'ids'].concat(
      ['f16', 'bf16'].flatMap((name) => ['U', 'S', 'V'].map((part) => `${name}.${part}`)),
    ),
  );
  expect([...(await floats('norm'))]).toEqual([1, 2, 3, 4, 5]);
  expect(await file.read('ids')).toEqual(bytesOf(Int32Array.of(1, 2, 3, 4)));
  // What the types keep of a matrix of rank 3.
  const precision = { f64: 2e-6, f32: 2e-6, f16: 2 ** -11, bf16: 2 ** -8 };
  for (const [name, matrix] of Object.entries(matrices)) {
    const [rows, columns] = made.find((tensor) => tensor.name === name)!.shape;
    const [u, s, right] = [await floats(`${name}.U`), await floats(`${name}.S`), await floats(`${name}.V`)];
    expect(Math.max(deviation(u, rows, RANK), deviation(right, columns, RANK))).toBeLessThanOrEqual(1e-5);
    const scaled = u.map((value, i) => value * s[i % RANK]!);
    const factors = [
      { values: scaled, width: RANK },
      { values: right, width: RANK, transposed: true },
    ] as const;
    const back = gemm(...factors, rows, columns, RANK);
    const error = Math.hypot(...back.map((value, i) => value - matrix[i]!)) / Math.hypot(...matrix);
    expect(error, name).toBeLessThanOrEqual(precision[name as keyof typeof precision]);
  }
});

test('files that make no sense are refused, and nothing is left', async () => {
  const { file } = await sample();
  const inUse = bench.gpu.memory.bytesInUse;
  const matrix = (name: string, shape: [number, number], values: Float32Array) =>
    fileOf([{ name, type: 'F32', shape, bytes: bytesOf(values) }]);
  const refuse = async (bytes: Uint8Array<ArrayBuffer>, change: object = {}) => {
    const sink = memorySink('factors.safetensors');
    const source = memorySource('made.safetensors', bytes);
    const error = await factorFile(source, sink, { gpu: bench.gpu, rank: 1, ...change }).catch(
      (caught: unknown) => caught,
    );
    expect(() => sink.bytes()).toThrow();
    expect(bench.gpu.memory.bytesInUse).toBe(inUse);
    return error as Error;
  };
  const rank = await refuse(file, { rank: 9 });
  expect(rank).toBeInstanceOf(ArgumentError);
  expect(rank.message).toContain('"bf16" [8,40]');
  expect(await refuse(file, { rank: 0 })).toBeInstanceOf(ArgumentError);
  expect(await refuse(file, { seed: -1 })).toBeInstanceOf(ArgumentError);
  expect((await refuse(await matrix('none', [0, 4], new Float32Array(0)))).message).toContain('has no elements');
  const nothing = await fileOf([{ name: 'a', type: 'F32', shape: [1], bytes: bytesOf(Float32Array.of(1)) }]);
  expect((await refuse(nothing)).message).toContain('no matrix of floats');
  const bad = await refuse(await matrix('bad', [2, 2], Float32Array.of(1, 2, Number.NaN, 4)));
  expect(bad).toBeInstanceOf(NonFiniteError);
  expect(bad.message).toContain('"bad" can\'t be factored: element [1, 0]');
  expect(await refuse(file, { signal: AbortSignal.abort() })).toBeInstanceOf(CancelledError);
});

const caught = catchOutput({ printed: '', said: '' });

test('compressa svd writes the file, the same bytes twice, and refuses what it should', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'compressa-svd-'));
  try {
    const input = join(folder, 'in.safetensors');
    await writeFile(input, (await sample()).file);
    const run = (...args: string[]) => {
      const program = new Command().exitOverride();
      registerSvd(program);
      return program.parseAsync(['svd', ...args], { from: 'user' });
    };
    const [one, two] = [join(folder, 'one.safetensors'), join(folder, 'sub/two.safetensors')];
    await run(input, '-o', one, '--rank', '2', '--seed', '7', '--json');
    const document = JSON.parse(caught.printed);
    expect(v.safeParse(SvdOutputSchema, document).issues).toBeUndefined();
    expect(document.tensors[0].singularValues).toHaveLength(2);
    await run(input, '-o', two, '--rank', '2', '--seed', '7', '--oversampling', '10', '--power-iterations', '2');
    expect((await readFile(one)).equals(await readFile(two))).toBe(true);
    await expect(run(input, '-o', one, '--rank', '2')).rejects.toThrow(/exists/);
    await expect(run(input, '-o', input, '--rank', '2', '--overwrite')).rejects.toThrow(ArgumentError);
    await expect(run(input, '-o', join(folder, 'x.gguf'), '--rank', '2')).rejects.toThrow(/safetensors/);
    await expect(run(input, '-o', join(folder, 'x.safetensors'), '--rank', 'two')).rejects.toThrow(/--rank is "two"/);
    await expect(run(input, '-o', join(folder, 'x.safetensors'), '--rank', '99')).rejects.toThrow(/The rank is 99/);
    expect((await readdir(folder)).sort()).toEqual(['in.safetensors', 'one.safetensors', 'sub']);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
