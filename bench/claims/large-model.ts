import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { graphOf, nodeFileSink } from 'compressa';
import { deviceNames } from '../../src/gpu/device-names.ts';
import type { Claim, Measurement } from '../claim.ts';
import { checkFree, writeRandomF16 } from '../synthetic.ts';

const CONFIG = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 4096,
  intermediate_size: 14336,
  num_hidden_layers: 7,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  head_dim: 128,
  // The embedding alone takes more than 1 GB.
  vocab_size: 131072,
  max_position_embeddings: 4096,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: 'silu',
  tie_word_embeddings: true,
  torch_dtype: 'float16',
};
const RECIPE = {
  version: 1,
  rules: [
    { match: '*', role: 'embedding', format: 'q8_0' },
    { match: '*', role: 'linear', format: 'q4_0' },
  ],
};
const SHARD_BYTES = 1_200_000_000;
const MOST_BYTES = 2_500_000_000;

interface Shape {
  readonly name: string;
  readonly shape: readonly number[];
}

const bytesOf = ({ shape }: Shape): number => 2 * shape.reduce((product, size) => product * size, 1);

/** Writes the model, in shards, and returns the bytes of its weights. */
async function generate(folder: string): Promise<number> {
  const shards: Shape[][] = [[]];
  for (const { name, shape } of graphOf(CONFIG, 'config.json').weights) {
    const held = shards.at(-1)!.reduce((sum, tensor) => sum + bytesOf(tensor), 0);
    if (held > 0 && held + bytesOf({ name, shape }) > SHARD_BYTES) shards.push([]);
    shards.at(-1)!.push({ name, shape });
  }
  const files = shards.map((_, i) => `model-${i + 1}-of-${shards.length}.safetensors`);
  for (const [i, tensors] of shards.entries()) {
    await writeRandomF16(await nodeFileSink(join(folder, files[i]!)), tensors, i + 1);
  }
  const map = shards.flatMap((tensors, i) => tensors.map(({ name }) => [name, files[i]!] as const));
  await writeFile(join(folder, 'config.json'), JSON.stringify(CONFIG));
  await writeFile(
    join(folder, 'model.safetensors.index.json'),
    JSON.stringify({ weight_map: Object.fromEntries(map) }),
  );
  return shards.flat().reduce((sum, tensor) => sum + bytesOf(tensor), 0);
}

/** Runs the command: its exit code, and the most memory that was resident at a time, in bytes; NaN where the system does not tell. */
async function run(args: readonly string[]) {
  const start = performance.now();
  const child = spawn(process.execPath, ['dist/cli/main.js', ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (text) => {
    stderr += text;
  });
  let peak = Number.NaN;
  const timer = setInterval(async () => {
    // The system's own high-water mark: nothing between two looks is missed, but for the very end.
    const status = await readFile(`/proc/${child.pid}/status`, 'utf8').catch(() => '');
    const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
    if (kilobytes !== undefined) peak = 1024 * Number(kilobytes);
  }, 20);
  const [code] = await once(child, 'close');
  clearInterval(timer);
  if (code !== 0) console.error(stderr.split('\n').slice(-5).join('\n'));
  return { code, peak, seconds: (performance.now() - start) / 1000 };
}

/** A hash over all files of a folder. */
async function hashOf(folder: string): Promise<string> {
  const hash = createHash('sha256');
  for (const name of (await readdir(folder)).sort()) {
    hash.update(name);
    for await (const piece of createReadStream(join(folder, name))) hash.update(piece);
  }
  return hash.digest('hex');
}

/**
 * A model of 4 GB, of which one tensor takes more than 1 GB, is compressed in bounded memory: the peak of the resident set of the
 * command's process, in which a software GPU has its memory, too. `--gpu-memory` bounds what it takes of the GPU, and the result is
 * the same.
 */
export const claim: Claim = {
  name: 'large model',
  async measure(gpu) {
    const folder = await mkdtemp(join(tmpdir(), 'compressa-large-'));
    try {
      await checkFree(folder, 9_000_000_000);
      const model = join(folder, 'model');
      await mkdir(model);
      const bytes = await generate(model);
      const recipe = join(folder, 'recipe.json');
      await writeFile(recipe, JSON.stringify(RECIPE));
      const results: Measurement[] = [];
      const hashes: string[] = [];
      for (const options of [[], ['--gpu-memory', '256MB']]) {
        const out = join(folder, 'out');
        const { code, peak, seconds } = await run(['compress', model, '-o', out, '--recipe', recipe, ...options]);
        if (code === 0) hashes.push(await hashOf(out));
        await rm(out, { recursive: true, force: true });
        results.push({
          claim: `peak resident memory, ${(bytes / 1e9).toFixed(2)} GB${['', ...options].join(' ')}, on ${deviceNames(gpu).name}`,
          threshold: `exit code 0, at most ${MOST_BYTES / 1e9} GB`,
          measured: `exit code ${code}, ${(peak / 1e9).toFixed(2)} GB, ${seconds.toFixed(0)} s`,
          pass: code === 0 && peak <= MOST_BYTES,
        });
      }
      results.push({
        claim: 'both runs write the same bytes',
        threshold: 'yes',
        measured: hashes.length === 2 && hashes[0] === hashes[1] ? 'yes' : 'no',
        pass: hashes.length === 2 && hashes[0] === hashes[1],
      });
      return results;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};
