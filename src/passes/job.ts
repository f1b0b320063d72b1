import type { Checkpoint } from '../files/checkpoint.ts';
import type { ByteSink } from '../files/sink.ts';
import { sha256, sha256Text } from './hash.ts';
import type { Plan } from './plan.ts';
import type { Prepared } from './prepare.ts';
import type { WeightFile } from './weight-files.ts';

/**
 * All that decides what a compression writes, as texts under names that people understand. The size of chunks and the device are
 * not among them: they change nothing.
 */
export type Job = Readonly<Record<string, string>>;

/** Tensors of the source of which a row is looked at: a model that was trained on has all of them changed. */
const SAMPLES = 32;

/** @throws FileError, CancelledError */
export async function jobOf(
  { checkpoint, plan, recipe, gguf }: Prepared,
  files: readonly WeightFile[],
  signal?: AbortSignal,
): Promise<Job> {
  const job: Record<string, string> = {
    // Without its folders: it may be found from elsewhere.
    'the name of the source': checkpoint.name.split(/[\\/]/).findLast((part) => part !== '') ?? '',
    'the size of the source': String(checkpoint.bytes),
    "the source's tensors": await sha256Text(JSON.stringify(headerOf(checkpoint))),
    "the source's values": await sampleOf(checkpoint, plan, signal),
    'the recipe': JSON.stringify(recipe),
    'the kind of file': gguf ? 'gguf' : 'safetensors',
    'the files of weights': files.map(({ file }) => file).join(' '),
  };
  for (const [i, file] of files.entries()) job[`header ${i + 1}`] = await headerHash(file);
  return job;
}

const headerOf = ({ tensors, opaque, config }: Checkpoint): unknown => [
  [...tensors.values()].map(({ name, type, shape, offset, byteLength }) => [name, type, shape, offset, byteLength]),
  [...(opaque?.values() ?? [])].map(({ name, type, shape, data }) => [name, type, shape, data.offset]),
  config,
];

/** The hash of a row of some tensors, spread over the source. */
async function sampleOf(checkpoint: Checkpoint, { tensors }: Plan, signal?: AbortSignal): Promise<string> {
  const filled = tensors.filter(({ report }) => report.bytesBefore > 0);
  const count = Math.min(SAMPLES, filled.length);
  const hashes: string[] = [];
  for (let i = 0; i < count; i++) {
    const { weight } = filled[Math.floor((i * filled.length) / count)]!;
    for (const info of weight.kind === 'quantized' ? weight.parts : [weight.info]) {
      const rows = info.shape[0] ?? 1;
      hashes.push(await sha256(await checkpoint.read(info, Math.floor(rows / 2), 1, signal)));
    }
  }
  return sha256Text(hashes.join());
}

/** The hash of what a file has before its tensors. */
async function headerHash(file: WeightFile): Promise<string> {
  const hashes: string[] = [];
  const sink: ByteSink = {
    name: file.file,
    async write(bytes) {
      hashes.push(await sha256(bytes));
    },
    async commit() {},
    async abort() {},
  };
  await file.begin(sink);
  return sha256Text(hashes.join());
}
