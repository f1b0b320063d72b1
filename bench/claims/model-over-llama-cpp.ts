import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  bootstrapInterval,
  compress,
  type Decoder,
  type Gpu,
  generate,
  median,
  nodeFileSink,
  nodeFolder,
  openModel,
  openPath,
} from 'compressa';
import { deviceNames } from '../../src/gpu/device-names.ts';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';
import { inPairs } from '../in-pairs.ts';
import { type FastestLlama, openFastestLlama } from '../peers/fastest-llama.ts';
import { llamaDeviceOf } from '../peers/llama-devices.ts';
import { llamaAbsence } from '../peers/llama-timer.ts';

const FORMATS = ['q4_0', 'q4_k_m'];
/** Tokens of the prompt, and those that are decoded behind the first one after it. */
const PREFILL = 128;
const DECODE = 64;
const CONTEXT = 256;
/** `COMPRESSA_PAIRS=3` for a first look. */
const PAIRS = Number(process.env.COMPRESSA_PAIRS ?? 15);
const FLOORS = { prefill: 1, decode: 1.5 };
/** Runs of ours before anything is timed: shaders are compiled and recorded. */
const WARM_UP = 2;

interface Times {
  readonly prefill: number;
  readonly decode: number;
}

/**
 * The sample model as GGUF on the same device as llama.cpp's Vulkan build, by the device's name: milliseconds from a prompt to the first token behind it, and
 * from there to the last of 64, greedy, tokens read by the host, both with the settings that they have by themselves. Ratios are its time
 * over ours, of pairs in alternating order. Its CPU build, with the number of threads that is fastest, is timed afterwards and only printed.
 */
export const claim: Claim = {
  name: 'sample model over llama.cpp',
  async *measure(gpu) {
    const device = llamaAbsence() ?? (await llamaDeviceOf(deviceNames(gpu).name));
    if (typeof device === 'string') {
      yield { claim: 'llama.cpp', threshold: 'is there, on the same device', measured: device, pass: false };
      return;
    }
    const folder = await mkdtemp(join(tmpdir(), 'compressa-llama-speed-'));
    const bytes = await readFile(`${SAMPLE_MODEL}/validation.tokens.u16`);
    const prompt = [...new Uint16Array(bytes.buffer, bytes.byteOffset, PREFILL)];
    try {
      for (const format of FORMATS) {
        const path = join(folder, `${format}.gguf`);
        await compress(await nodeFolder(SAMPLE_MODEL), await nodeFileSink(path), { gpu, format });
        const vulkan = await timeVulkan(gpu, path, prompt, device);
        const cpu = await timeCpu(path, prompt);
        yield* comparisons(format, vulkan, cpu);
      }
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};

interface Vulkan {
  readonly ours: readonly Times[];
  readonly theirs: readonly Times[];
  readonly flags: string;
}

async function timeVulkan(gpu: Gpu, path: string, prompt: readonly number[], device: number): Promise<Vulkan> {
  const llama = await opened(openFastestLlama({ path, contextSize: CONTEXT, device }, prompt));
  try {
    const model = await openModel(await openPath(path), { gpu, maxPositions: CONTEXT });
    try {
      for (let i = 0; i < WARM_UP; i++) await timeOurs(model.decoder, prompt);
      const [ours, theirs] = await inPairs(
        PAIRS,
        () => timeOurs(model.decoder, prompt),
        () => llama.timer.time(prompt, DECODE + 1),
      );
      return { ours, theirs, flags: llama.flags };
    } finally {
      await model.close();
    }
  } finally {
    llama.timer.close();
  }
}

async function timeCpu(path: string, prompt: readonly number[]): Promise<{ times: Times[]; flags: string }> {
  const llama = await opened(openFastestLlama({ path, contextSize: CONTEXT, device: 'cpu' }, prompt));
  try {
    const times: Times[] = [];
    for (let i = 0; i < PAIRS; i++) times.push(await llama.timer.time(prompt, DECODE + 1));
    return { times, flags: llama.flags };
  } finally {
    llama.timer.close();
  }
}

async function opened(opening: Promise<FastestLlama | string>): Promise<FastestLlama> {
  const llama = await opening;
  if (typeof llama === 'string') throw new Error(llama);
  return llama;
}

function* comparisons(
  format: string,
  { ours, theirs, flags }: Vulkan,
  cpu: Awaited<ReturnType<typeof timeCpu>>,
): Iterable<Measurement> {
  for (const what of ['prefill', 'decode'] as const) {
    const count = what === 'prefill' ? PREFILL : DECODE;
    const rate = (times: readonly Times[]) =>
      `${((1000 * count) / median(times.map((each) => each[what]))).toFixed(0)} tokens/s`;
    const ratios = ours.map((each, i) => theirs[i]![what] / each[what]);
    const [low, high] = bootstrapInterval(ratios);
    yield {
      claim: `${format}, ${what} of ${count} tokens over llama.cpp (${flags})`,
      threshold: `at least ${FLOORS[what]}x`,
      measured: `${median(ratios).toFixed(2)} (95%: ${low.toFixed(2)} to ${high.toFixed(2)}; ${rate(ours)} and ${rate(theirs)}; its CPU build ${rate(cpu.times)}: ${cpu.flags})`,
      pass: low >= FLOORS[what],
    };
  }
}

async function timeOurs(decoder: Decoder, prompt: readonly number[]): Promise<Times> {
  decoder.rewind();
  await decoder.gpu.idle();
  const begin = performance.now();
  const tokens = generate(decoder, prompt, { maxTokens: DECODE + 1 });
  await tokens.next();
  const first = performance.now();
  let count = 0;
  for await (const _ of tokens) count++;
  if (count !== DECODE) throw new Error(`${count} tokens instead of ${DECODE}`);
  return { prefill: first - begin, decode: performance.now() - first };
}
