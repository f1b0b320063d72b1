import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import * as v from 'valibot';
import { expect, test } from 'vitest';
import { registerLora } from '../../../src/cli/lora.ts';
import { LoraExtractOutputSchema, LoraResizeOutputSchema } from '../../../src/cli/output-schemas.ts';
import { ArgumentError, CancelledError, FileError, ModelError, NonFiniteError } from '../../../src/errors.ts';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { decodeToF32, encodeF16 } from '../../../src/files/convert.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { readSafetensors } from '../../../src/files/safetensors-read.ts';
import { type TensorSpec, writeSafetensors } from '../../../src/files/safetensors-write.ts';
import { type MemoryOutput, memoryOutput, memorySink } from '../../../src/files/sink.ts';
import { memorySource } from '../../../src/files/source.ts';
import { gemm } from '../../../src/kernels/reference/gemm.ts';
import { compress } from '../../../src/passes/compress.ts';
import { type ExtractAdapterOptions, extractAdapter } from '../../../src/passes/lora/extract.ts';
import { type ResizeAdapterOptions, resizeAdapter } from '../../../src/passes/lora/resize.ts';
import { singularValues } from '../../../src/passes/lowrank/reference/singular-values.ts';
import { catchOutput } from '../cli-bench.ts';
import { generator, openBench } from '../layers/bench.ts';
import { modelFolder, smallConfig } from '../small-model.ts';
import { geometric, withSpectrum } from './matrices.ts';

const bench = openBench();
const RANK = 3;

interface Tensor {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}
type Tensors = Record<string, Tensor>;

async function fileOf(tensors: Tensors, type: 'F32' | 'F16' = 'F32'): Promise<Uint8Array<ArrayBuffer>> {
  const sink = memorySink('made.safetensors');
  const specs = Object.entries(tensors).map(([name, { shape }]): TensorSpec => ({ name, type, shape }));
  const writer = await writeSafetensors(sink, specs);
  for (const [name, { values }] of Object.entries(tensors)) {
    await writer.write(name, type === 'F16' ? encodeF16(values) : new Uint8Array(values.slice().buffer));
  }
  await writer.finish();
  return sink.bytes();
}

const CONFIG = JSON.stringify({ architectures: ['OddForCausalLM'], model_type: 'odd' });
const open = async (tensors: Tensors, config = CONFIG) =>
  openCheckpoint(memoryFolder('made', { 'config.json': config, 'model.safetensors': await fileOf(tensors) }));

/** The difference of each matrix has RANK singular values and much smaller ones behind. */
const SPECTRUM = [...geometric(RANK, 5), 1e-5, 5e-6];

function models() {
  const next = generator(301);
  const random = (shape: readonly number[]): Tensor => ({
    shape,
    values: Float32Array.from({ length: shape.reduce((product, size) => product * size, 1) }, () => next() - 0.5),
  });
  const base: Tensors = {
    'model.embed_tokens.weight': random([40, 24]),
    'model.layers.0.q_proj.weight': random([24, 31]),
    'model.layers.0.down_proj.weight': random([24, 50]),
    'model.layers.1.q_proj.weight': random([24, 31]),
    'model.layers.1.tiny.weight': random([2, 30]),
    'model.norm.weight': random([24]),
  };
  const changed = (name: string): Tensor => {
    const { shape, values } = base[name]!;
    const [rows, columns] = shape as [number, number];
    const difference = withSpectrum(rows, columns, SPECTRUM.slice(0, Math.min(rows, columns)), next);
    return { shape, values: values.map((value, i) => value + difference[i]!) };
  };
  const tuned: Tensors = {
    ...base,
    ...Object.fromEntries(
      ['model.embed_tokens', 'model.layers.0.q_proj', 'model.layers.1.q_proj', 'model.layers.1.tiny'].map((name) => [
        `${name}.weight`,
        changed(`${name}.weight`),
      ]),
    ),
  };
  return { base, tuned };
}

/** The tensors and config of what was written. */
async function written(output: MemoryOutput) {
  const file = await readSafetensors(
    memorySource('adapter_model.safetensors', output.files.get('adapter_model.safetensors')!),
  );
  const tensors: Tensors = {};
  for (const [name, { shape, type }] of file.tensors) {
    tensors[name] = { shape, values: decodeToF32(await file.read(name), type) };
  }
  const config = JSON.parse(new TextDecoder().decode(output.files.get('adapter_config.json')!));
  return { tensors, config, file };
}

/** B A in f64. */
function product(b: Tensor, a: Tensor): Float64Array {
  const rank = a.shape[0]!;
  const columns = a.values.length / rank;
  return gemm(
    { values: b.values, width: rank },
    { values: a.values, width: columns },
    b.values.length / rank,
    columns,
    rank,
  );
}

const norm = (values: ArrayLike<number>) => Math.sqrt(Array.from(values).reduce((sum, value) => sum + value ** 2, 0));
const distance = (x: ArrayLike<number>, y: ArrayLike<number>) => norm(Array.from(x, (value, i) => value - y[i]!));

test('the difference of two checkpoints becomes an adapter under the names of PEFT', async () => {
  const { base, tuned } = models();
  const norms: Tensors = {
    ...tuned,
    'model.norm.weight': { shape: [24], values: tuned['model.norm.weight']!.values.map((x) => 2 * x) },
  };
  const output = memoryOutput();
  const progress: number[] = [];
  const { modules, notices } = await extractAdapter(await open(base), await open(norms), output, {
    ...{ gpu: bench.gpu, rank: RANK },
    onProgress: (done, total) => progress.push(done / total),
  });
  expect(progress).toEqual(progress.toSorted((one, other) => one - other));
  expect(progress.at(-1)).toBe(1);
  expect(notices).toEqual(['The adapter leaves out what else changed: "model.norm.weight".']);
  const { tensors, config, file } = await written(output);
  expect(file.metadata).toEqual({ format: 'pt' });
  expect(Object.fromEntries(Object.entries(tensors).map(([name, { shape }]) => [name, shape]))).toEqual({
    'base_model.model.model.embed_tokens.lora_embedding_A': [3, 40],
    'base_model.model.model.embed_tokens.lora_embedding_B': [24, 3],
    'base_model.model.model.layers.0.q_proj.lora_A.weight': [3, 31],
    'base_model.model.model.layers.0.q_proj.lora_B.weight': [24, 3],
    'base_model.model.model.layers.1.q_proj.lora_A.weight': [3, 31],
    'base_model.model.model.layers.1.q_proj.lora_B.weight': [24, 3],
    'base_model.model.model.layers.1.tiny.lora_A.weight': [2, 30],
    'base_model.model.model.layers.1.tiny.lora_B.weight': [2, 2],
  });
  expect(config).toMatchObject({
    ...{ peft_type: 'LORA', task_type: 'CAUSAL_LM', r: 3, lora_alpha: 3, use_rslora: false, fan_in_fan_out: false },
    rank_pattern: { 'model.layers.1.tiny': 2 },
    alpha_pattern: { 'model.layers.1.tiny': 2 },
    target_modules: ['embed_tokens', 'q_proj', 'tiny'],
  });
  for (const { module, change, error } of modules) {
    const { values: before, shape } = base[`${module}.weight`]!;
    const difference = Float64Array.from(tuned[`${module}.weight`]!.values, (value, i) => value - before[i]!);
    const embedding = module.endsWith('embed_tokens');
    const [a, b] = (embedding ? ['lora_embedding_A', 'lora_embedding_B'] : ['lora_A.weight', 'lora_B.weight']).map(
      (name) => tensors[`base_model.model.${module}.${name}`]!,
    );
    const made = product(b!, a!);
    const [rows, columns] = shape as [number, number];
    const there = embedding ? made.map((_, i) => made[(i % columns) * rows + Math.floor(i / columns)]!) : made;
    // The least that rank 3 leaves, and f32's rounding of sums of as large values.
    const least = norm(singularValues(difference, rows, columns).slice(Math.min(RANK, rows)));
    expect(distance(there, difference), module).toBeLessThanOrEqual(1.02 * least + 2e-6 * norm(difference));
    expect(change).toBeCloseTo(norm(difference) / norm(before), 5);
    // What is left is found as a difference of sums of squares in f32.
    expect(Math.abs(error - least / norm(difference))).toBeLessThanOrEqual(1e-3);
  }
  expect(modules.map(({ module }) => module)).toEqual([
    ...['model.embed_tokens', 'model.layers.0.q_proj', 'model.layers.1.q_proj', 'model.layers.1.tiny'],
  ]);
});

test('of two GGUF files, whose rows of queries lie in another order, comes the same adapter', async () => {
  const name = 'model.layers.1.self_attn.q_proj.weight';
  const difference = withSpectrum(64, 64, SPECTRUM, generator(303));
  const asGguf = async (change?: Parameters<typeof modelFolder>[1]) => {
    const { open: folder } = await modelFolder(smallConfig(), change);
    const sink = memorySink('made.gguf');
    await compress(folder(), sink, { gpu: bench.gpu, format: 'keep' });
    return openCheckpoint(memorySource('made.gguf', sink.bytes()));
  };
  const output = memoryOutput();
  const base = await asGguf();
  const tuned = await asGguf((tensor, values) => {
    if (tensor === name) for (let i = 0; i < values.length; i++) values[i]! += difference[i]!;
  });
  const { modules } = await extractAdapter(base, tuned, output, { gpu: bench.gpu, rank: RANK });
  expect(modules.map(({ module }) => `${module}.weight`)).toEqual([name]);
  const { tensors } = await written(output);
  const [a, b] = ['lora_A', 'lora_B'].map(
    (part) => tensors[`base_model.model.${name.replace('weight', part)}.weight`]!,
  );
  const least = norm(SPECTRUM.slice(RANK));
  expect(distance(product(b!, a!), difference)).toBeLessThanOrEqual(1.02 * least + 2e-6 * norm(difference));
});

test('some matrices only, in half precision, whole names where the last word says too much; Conv1D lies the other way', async () => {
  const { base, tuned } = models();
  const output = memoryOutput();
  await extractAdapter(await open(base), await open(tuned), output, {
    ...{ gpu: bench.gpu, rank: RANK, match: '*.0.*', type: 'f16' },
  });
  const { tensors, config, file } = await written(output);
  expect([...file.tensors.values()].map(({ type }) => type)).toEqual(['F16', 'F16']);
  expect(config.target_modules).toEqual(['model.layers.0.q_proj']);
  const name = 'model.layers.0.q_proj.weight';
  const difference = tuned[name]!.values.map((value, i) => value - base[name]!.values[i]!);
  const [a, b] = Object.values(tensors);
  expect(distance(product(b!, a!), difference)).toBeLessThanOrEqual(2 ** -10 * norm(difference));

  const conv = memoryOutput();
  const [from, to] = [base, tuned].map((model) => ({ 'h.0.attn.c_attn.weight': model[name]! }));
  const gpt2 = JSON.stringify({ architectures: ['GPT2LMHeadModel'], model_type: 'gpt2' });
  await extractAdapter(await open(from!, gpt2), await open(to!, gpt2), conv, { gpu: bench.gpu, rank: RANK });
  const there = await written(conv);
  expect(there.config).toMatchObject({ fan_in_fan_out: true, task_type: 'CAUSAL_LM' });
  expect(Object.values(there.tensors).map(({ shape }) => shape)).toEqual([
    [3, 24],
    [31, 3],
  ]);
});

test('checkpoints that do not match are refused by name, and nothing is left', async () => {
  const { base, tuned } = models();
  const inUse = bench.gpu.memory.bytesInUse;
  const refuse = async (to: Tensors, change: Partial<ExtractAdapterOptions> = {}) => {
    const output = memoryOutput();
    const options = { gpu: bench.gpu, rank: 2, ...change };
    const error = await extractAdapter(await open(base), await open(to), output, options).catch(
      (caught: unknown) => caught,
    );
    expect(output.files.size).toBe(0);
    expect(bench.gpu.memory.bytesInUse).toBe(inUse);
    return error as Error;
  };
  const { 'model.norm.weight': gone, ...rest } = tuned;
  const lacks = await refuse(rest);
  expect(lacks).toBeInstanceOf(ModelError);
  expect(lacks.message).toContain('lacks the weight "model.norm.weight"');
  expect((await refuse({ ...tuned, 'lm_head.weight': gone! })).message).toContain('lacks the weight "lm_head.weight"');
  const other = { ...tuned, 'model.embed_tokens.weight': { shape: [20, 48], values: new Float32Array(960) } };
  expect((await refuse(other)).message).toMatch(
    /"model.embed_tokens.weight" is \[20,48\] of F32, but in made \[40,24\]/,
  );
  expect((await refuse(base)).message).toContain('there is nothing to extract');
  expect((await refuse(tuned, { match: '*.norm.*' })).message).toContain('there is no matrix to extract');
  expect(await refuse(tuned, { rank: 0 })).toBeInstanceOf(ArgumentError);
  expect((await refuse(tuned, { rank: 25 })).message).toContain('from 1 to 24');
  const values = tuned['model.layers.0.q_proj.weight']!.values.with(3, Number.NaN) as Float32Array;
  const bad = await refuse({ ...tuned, 'model.layers.0.q_proj.weight': { shape: [24, 31], values } });
  expect(bad).toBeInstanceOf(NonFiniteError);
  expect(bad.message).toContain('"model.layers.0.q_proj.weight"');
  expect(await refuse(tuned, { signal: AbortSignal.abort() })).toBeInstanceOf(CancelledError);
  const stop = new AbortController();
  const late = await refuse(tuned, { signal: stop.signal, onProgress: (done) => done > 0 && stop.abort() });
  expect(late).toBeInstanceOf(CancelledError);
});

/** An adapter of several kinds of modules. */
function adapter() {
  const next = generator(302);
  const random = (shape: readonly number[]): Tensor => ({
    shape,
    values: Float32Array.from({ length: shape.reduce((all, size) => all * size, 1) }, () => next() - 0.5),
  });
  const tensors: Tensors = {
    'base_model.model.a.q_proj.lora_A.weight': random([8, 30]),
    'base_model.model.a.q_proj.lora_B.weight': random([20, 8]),
    // Wider than long: no QR factorization of B.
    'base_model.model.a.k_proj.lora_A.weight': random([8, 30]),
    'base_model.model.a.k_proj.lora_B.weight': random([5, 8]),
    'base_model.model.emb.lora_embedding_A': random([6, 50]),
    'base_model.model.emb.lora_embedding_B': random([7, 6]),
    'base_model.model.conv.lora_A.weight': random([4, 3, 3, 3]),
    'base_model.model.conv.lora_B.weight': random([9, 4, 1, 1]),
    // As it is before training.
    'base_model.model.fresh.lora_A.weight': random([8, 12]),
    'base_model.model.fresh.lora_B.weight': { shape: [10, 8], values: new Float32Array(80) },
    'base_model.model.score.weight': random([3, 4]),
  };
  const config = {
    ...{ peft_type: 'LORA', r: 8, lora_alpha: 16, alpha_pattern: { conv: 3 }, rank_pattern: { conv: 4, emb: 6 } },
    ...{ target_modules: ['q_proj', 'k_proj', 'emb', 'conv', 'fresh'], lora_dropout: 0.1, bias: 'none' },
  };
  return { tensors, config };
}

const adapterFolder = async (tensors: Tensors, config: object | string, type: 'F32' | 'F16' = 'F32') =>
  memoryFolder('adapter', {
    'adapter_config.json': typeof config === 'string' ? config : JSON.stringify(config),
    'adapter_model.safetensors': await fileOf(tensors, type),
  });

const MODULES = ['a.q_proj', 'a.k_proj', 'emb', 'conv', 'fresh'];
const factorsOf = (tensors: Tensors, module: string) =>
  ['A', 'B'].map(
    (factor) =>
      (tensors[`base_model.model.${module}.lora_${factor}.weight`] ??
        tensors[`base_model.model.${module}.lora_embedding_${factor}`])!,
  ) as [Tensor, Tensor];

test.each([
  { rslora: false, rank: 5 },
  { rslora: true, rank: 2 },
  { rslora: false, rank: 8 },
])('an adapter of rank $rank (rslora: $rslora) is the nearest of its rank', async ({ rslora, rank }) => {
  const { tensors, config } = adapter();
  const output = memoryOutput();
  const resized = await resizeAdapter(await adapterFolder(tensors, { ...config, use_rslora: rslora }), output, {
    ...{ gpu: bench.gpu, rank },
  });
  const there = await written(output);
  expect(there.config).toMatchObject({ r: rank, lora_alpha: rank, use_rslora: false, lora_dropout: 0.1 });
  expect(there.tensors['base_model.model.score.weight']).toEqual(tensors['base_model.model.score.weight']);
  expect(resized.map(({ module }) => module)).toEqual(MODULES);
  for (const { module, before, rank: own, error } of resized) {
    const alpha = module === 'conv' ? 3 : 16;
    const scaling = alpha / (rslora ? Math.sqrt(before) : before);
    const [a, b] = factorsOf(tensors, module);
    const whole = product(b, a).map((value) => scaling * value);
    const [rows, columns] = [b.shape[0]!, a.values.length / before];
    const [newA, newB] = factorsOf(there.tensors, module);
    expect([newA.shape, newB.shape]).toEqual([
      [own, ...a.shape.slice(1)],
      [rows, own, ...b.shape.slice(2)],
    ]);
    expect(own).toBe(Math.min(rank, before, rows, columns));
    expect(there.config.rank_pattern[module] ?? rank).toBe(own);
    const least = norm(singularValues(whole, rows, columns).slice(own));
    // Two QR factorizations, a product and an SVD in f32.
    expect(distance(product(newB, newA), whole), module).toBeLessThanOrEqual(least + 5e-6 * norm(whole));
    expect(error).toBeCloseTo(norm(whole) === 0 ? 0 : least / norm(whole), 4);
  }
});

test('adapters that make no sense are refused by name, and nothing is left', async () => {
  const { tensors, config } = adapter();
  const inUse = bench.gpu.memory.bytesInUse;
  const refuse = async (some: Tensors, how: object | string = config, change: Partial<ResizeAdapterOptions> = {}) => {
    const output = memoryOutput();
    const options = { gpu: bench.gpu, rank: 2, ...change };
    const error = await resizeAdapter(await adapterFolder(some, how), output, options).catch(
      (caught: unknown) => caught,
    );
    expect(output.files.size).toBe(0);
    expect(bench.gpu.memory.bytesInUse).toBe(inUse);
    return error as Error;
  };
  expect((await refuse(tensors, config, { rank: 9 })).message).toContain('from 1 to 8');
  expect(await refuse(tensors, config, { rank: 1.5 })).toBeInstanceOf(ArgumentError);
  expect((await refuse(tensors, { ...config, peft_type: 'IA3' })).message).toContain('"peft_type"');
  expect((await refuse(tensors, { ...config, use_dora: true })).message).toContain('DoRA');
  expect((await refuse(tensors, { ...config, init_lora_weights: 'pissa' })).message).toContain('"pissa"');
  expect((await refuse(tensors, { ...config, alpha_pattern: { '^a(x+)+$': 2 } })).message).toContain('"^a(x+)+$"');
  expect(await refuse(tensors, '[]')).toBeInstanceOf(FileError);
  const a = 'base_model.model.a.q_proj.lora_A.weight';
  const { [a]: _, ...rest } = tensors;
  expect((await refuse(rest)).message).toContain('"a.q_proj" lacks its factor A');
  const short = { ...tensors, [a]: { shape: [7, 30], values: new Float32Array(210) } };
  expect((await refuse(short)).message).toContain('"a.q_proj" has the factors [7,30] of F32 and [20,8] of F32');
  expect((await refuse({ x: tensors[a]! })).message).toContain('there is no factor of LoRA');
  const bad = { ...tensors, [a]: { shape: [8, 30], values: tensors[a]!.values.with(4, Number.NaN) as Float32Array } };
  const nan = await refuse(bad);
  expect(nan).toBeInstanceOf(NonFiniteError);
  expect(nan.message).toContain('"a.q_proj"');
  expect(await refuse(tensors, config, { signal: AbortSignal.abort() })).toBeInstanceOf(CancelledError);
});

const caught = catchOutput({ printed: '', said: '' });

test('compressa lora extract, then resize: the same bytes twice, and the same types', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'compressa-lora-'));
  try {
    const { base, tuned } = models();
    const [from, to] = [join(folder, 'base.safetensors'), join(folder, 'tuned.safetensors')];
    await writeFile(from, await fileOf(base));
    await writeFile(to, await fileOf(tuned));
    const run = (...args: string[]) => {
      const program = new Command().exitOverride();
      registerLora(program);
      return program.parseAsync(['lora', ...args], { from: 'user' });
    };
    const [one, two, small] = ['one', 'sub/two', 'small'].map((name) => join(folder, name)) as [string, string, string];
    await run('extract', from, to, '-o', one, '--rank', '3', '--type', 'bf16', '--json');
    expect(v.safeParse(LoraExtractOutputSchema, JSON.parse(caught.printed)).issues).toBeUndefined();
    await run('extract', from, to, '-o', two, '--rank', '3', '--type', 'bf16');
    for (const name of ['adapter_model.safetensors', 'adapter_config.json']) {
      expect((await readFile(join(one, name))).equals(await readFile(join(two, name)))).toBe(true);
    }
    caught.printed = '';
    await run('resize', one, '-o', small, '--rank', '1', '--json');
    expect(v.safeParse(LoraResizeOutputSchema, JSON.parse(caught.printed)).issues).toBeUndefined();
    const file = await readSafetensors(memorySource('small', await readFile(join(small, 'adapter_model.safetensors'))));
    expect(new Set([...file.tensors.values()].map(({ type }) => type))).toEqual(new Set(['BF16']));
    await run('resize', one, '-o', small, '--rank', '2', '--overwrite');
    await expect(run('resize', one, '-o', one, '--rank', '1', '--overwrite')).rejects.toThrow(ArgumentError);
    await expect(run('extract', from, to, '-o', one, '--rank', '3')).rejects.toThrow(/exists/);
    await expect(run('extract', from, to, '-o', join(folder, 'x.gguf'), '--rank', '3')).rejects.toThrow(/folder/);
    await expect(run('extract', from, to, '-o', join(folder, 'x'), '--rank', 'few')).rejects.toThrow(
      /--rank takes a whole number/,
    );
    expect((await readdir(folder)).sort()).toEqual(['base.safetensors', 'one', 'small', 'sub', 'tuned.safetensors']);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
