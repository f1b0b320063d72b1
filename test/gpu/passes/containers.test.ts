import { afterAll, beforeAll, expect, test } from 'vitest';
import { decodeBitsAndBytes, decodeMlx, decodePackQuantized, readFile } from '../../../bench/container-decoders.ts';
import { ArgumentError, FormatError } from '../../../src/errors.ts';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { writeSafetensors } from '../../../src/files/safetensors-write.ts';
import { memoryOutput, memorySink } from '../../../src/files/sink.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { graphOf } from '../../../src/models/families.ts';
import { compress, planCompression } from '../../../src/passes/compress.ts';
import type { CompressOptions } from '../../../src/passes/compress-options.ts';
import { dequantizedWeights } from '../../../src/passes/load-weights.ts';
import { openTestGpu } from '../open-test-gpu.ts';
import { randomWeights } from '../random-weights.ts';

const config = {
  architectures: ['LlamaForCausalLM'],
  hidden_size: 128,
  intermediate_size: 192,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 32,
  vocab_size: 97,
  max_position_embeddings: 64,
};
const graph = graphOf(config, 'config.json');
const linear = graph.weights.filter(({ role }) => role === 'linear').map(({ name }) => name);

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu.close());

async function model() {
  const random = randomWeights(gpu, graph, 3);
  random.release();
  const sink = memorySink();
  const specs = graph.weights.map(({ name, shape }) => ({ name, shape, type: 'F32' as const }));
  const writer = await writeSafetensors(sink, specs);
  for (const { name } of specs) await writer.write(name, new Uint8Array(random.values(name).buffer));
  await writer.finish();
  return memoryFolder('random', { 'config.json': JSON.stringify(config), 'model.safetensors': sink.bytes() });
}

/** What compressing makes: the files, and the report. */
async function compressed(options: Omit<CompressOptions, 'gpu'>) {
  const output = memoryOutput();
  const report = await compress(await model(), output, { gpu, ...options });
  return { files: output.files, report };
}

/** The weights as our own container decodes them. */
async function ours(options: Omit<CompressOptions, 'gpu'>) {
  const { files } = await compressed(options);
  return dequantizedWeights(await openCheckpoint(memoryFolder('ours', Object.fromEntries(files))), graph);
}

const moduleOf = (name: string) => name.replace('.weight', '');
const configOf = (files: ReadonlyMap<string, Uint8Array>) =>
  JSON.parse(new TextDecoder().decode(files.get('config.json')));

test.each(['int4-g64', 'int3-g64-asym', 'int8-row'])(
  '%s in compressed-tensors is what it is in our files',
  async (format) => {
    // Small chunks: matrices come in pieces.
    const how = { format, chunkBytes: 16 * 1024 } as const;
    const { files, report } = await compressed({ ...how, container: 'compressed-tensors' });
    const wanted = await ours(how);
    const { tensors, metadata } = readFile(files.get('model.safetensors')!);
    expect(metadata).toEqual({ format: 'pt' });
    for (const name of linear) {
      const got = Float32Array.from(decodePackQuantized(tensors, moduleOf(name), Number(format[3])));
      expect(got.findIndex((value, i) => value !== wanted(name)[i])).toBe(-1);
      expect(tensors.has(name)).toBe(false);
    }
    expect(tensors.has('model.embed_tokens.weight')).toBe(true);
    expect(configOf(files)).toMatchObject({
      ...config,
      quantization_config: { config_groups: { group_0: { targets: ['Linear'] } }, ignore: ['lm_head'] },
    });
    expect(report.bytesAfter).toBe([...tensors.values()].reduce((sum, { bytes }) => sum + bytes.length, 0));
  },
);

test('formats of several widths and a kept matrix in MLX, the embedding too', async () => {
  const recipe = {
    version: 1 as const,
    rules: [
      { match: '*.0.mlp.down_proj.weight', format: 'keep' },
      { match: '*.v_proj.weight', format: 'int8-g32' },
      { match: '*', role: 'linear' as const, format: 'int4-g64' },
      { match: '*', role: 'embedding' as const, format: 'int4-g64' },
    ],
  };
  const { files } = await compressed({ recipe, container: 'mlx' });
  const wanted = await ours({ recipe });
  const { tensors, metadata } = readFile(files.get('model.safetensors')!);
  expect(metadata).toEqual({ format: 'mlx' });
  const { quantization, ...rest } = configOf(files);
  expect(rest).toEqual(config);
  expect(quantization).toMatchObject({ group_size: 64, bits: 4 });
  expect(Object.keys(quantization).filter((key) => key.includes('proj'))).toHaveLength(2);
  let decoded = 0;
  for (const { name, role } of graph.weights) {
    if (!tensors.has(`${moduleOf(name)}.scales`)) continue;
    const got = decodeMlx(tensors, moduleOf(name), quantization[moduleOf(name)] ?? quantization);
    // Symmetric: the bias is a power of two times the scale, so that the sum is exact.
    expect(Float32Array.from(got).findIndex((value, i) => value !== wanted(name)[i])).toBe(-1);
    expect(['linear', 'embedding']).toContain(role);
    decoded++;
  }
  expect(decoded).toBe(2 * 7 - 1 + 1);
  expect(tensors.get('model.layers.0.mlp.down_proj.weight')!.dtype).toBe('F32');
});

test.each(['nf4', 'nf4-f32'])('%s in bitsandbytes is what it is in our files', async (format) => {
  // Small chunks: scales are quantized when the last is there.
  const how = { format, chunkBytes: 16 * 1024 } as const;
  const { files, report } = await compressed({ ...how, container: 'bitsandbytes' });
  const wanted = await ours(how);
  const { tensors, metadata } = readFile(files.get('model.safetensors')!);
  expect(metadata).toEqual({ format: 'pt' });
  for (const name of linear) {
    const got = decodeBitsAndBytes(tensors, moduleOf(name));
    expect(got.findIndex((value, i) => value !== wanted(name)[i])).toBe(-1);
    expect(got).toHaveLength(wanted(name).length);
  }
  expect(tensors.get('model.embed_tokens.weight')!.dtype).toBe('F32');
  expect(configOf(files)).toEqual({
    ...config,
    quantization_config: {
      quant_method: 'bitsandbytes',
      load_in_4bit: true,
      load_in_8bit: false,
      bnb_4bit_quant_type: 'nf4',
      bnb_4bit_use_double_quant: format === 'nf4',
      bnb_4bit_compute_dtype: 'float32',
      bnb_4bit_quant_storage: 'uint8',
      llm_int8_skip_modules: ['lm_head'],
    },
  });
  expect(report.bytesAfter).toBe([...tensors.values()].reduce((sum, { bytes }) => sum + bytes.length, 0));
  // The same from a file that has it already.
  const { files: before } = await compressed(how);
  const output = memoryOutput();
  const input = memoryFolder('compressed', Object.fromEntries(before));
  await compress(input, output, { gpu, format: 'keep', container: 'bitsandbytes' });
  expect(Buffer.compare(output.files.get('model.safetensors')!, files.get('model.safetensors')!)).toBe(0);
});

test('floats of bitsandbytes start at whole words, whatever the number of groups', async () => {
  const { files } = await compressed({ format: 'nf4', container: 'bitsandbytes' });
  const file = files.get('model.safetensors')!;
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)));
  let floats = 0;
  for (const [name, { dtype, data_offsets }] of Object.entries<{ dtype: string; data_offsets: number[] }>(header)) {
    if (name === '__metadata__' || dtype !== 'F32') continue;
    expect((8 + length + data_offsets[0]!) % 4, name).toBe(0);
    floats++;
  }
  expect(floats).toBeGreaterThan(3 * linear.length);
});

test('what a container can’t hold is refused before the GPU is needed', async () => {
  await expect(planCompression(await model(), { format: 'int4-g64', container: 'bitsandbytes' })).rejects.toThrow(
    /int4-g64 in bitsandbytes: it holds nf4 and nf4-f32 only.*\(nf4, say\)/,
  );
  const head = { version: 1, rules: [{ match: '*', role: 'head', format: 'nf4' }] };
  await expect(planCompression(await model(), { recipe: head as never, container: 'bitsandbytes' })).rejects.toThrow(
    /heads stay as they are/,
  );
  const plan = async (options: object) => planCompression(await model(), options);
  await expect(plan({ format: 'q4_0', container: 'mlx' })).rejects.toThrow(FormatError);
  await expect(plan({ format: 'q4_0', container: 'mlx' })).rejects.toThrow(/q4_0 in mlx: it holds integer groups/);
  await expect(plan({ format: 'int4-g16', container: 'mlx' })).rejects.toThrow(/groups are of 32, 64, 128/);
  await expect(plan({ format: 'int4-g64-fzp', container: 'compressed-tensors' })).rejects.toThrow(
    /zero points are integers/,
  );
  const embedding = { version: 1, rules: [{ match: '*', role: 'embedding', format: 'int4-g64' }] };
  await expect(plan({ recipe: embedding, container: 'compressed-tensors' })).rejects.toThrow(
    /embeddings stay as they are/,
  );
  await expect(plan({ format: 'keep', container: 'mlx' })).rejects.toThrow(ArgumentError);
  await expect(plan({ format: 'int4-g64', container: 'gptq' })).rejects.toThrow(
    /no container "gptq".*Known: compressed-tensors, mlx, bitsandbytes/,
  );
  await expect(plan({ format: 'int4-g64', container: 'mlx', output: 'gguf' })).rejects.toThrow(/write a folder/);
});
