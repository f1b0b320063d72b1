import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  bootstrapInterval,
  compress,
  type Decoder,
  generate,
  median,
  nodeFileSink,
  nodeFolder,
  openModel,
  openPath,
} from 'compressa';
import { type Claim, SAMPLE_MODEL } from '../claim.ts';
import { openFastestLlama, threadsText } from '../peers/fastest-llama.ts';

const FORMATS = ['q4_0', 'q4_k_m'];
/** Tokens of the prompt, and those that are decoded behind the first one after it. */
const PREFILL = 128;
const DECODE = 64;
const CONTEXT = 256;
/** `COMPRESSA_PAIRS=3` for a first look. */
const PAIRS = Number(process.env.COMPRESSA_PAIRS ?? 15);
/** That llama.cpp may use. Those of its Vulkan build only wait, and each process compiles shaders for minutes. */
const THREADS = { vulkan: [1], cpu: [1, 2] };
const FLOORS = { prefill: 1, decode: 1.5 };
/** Runs of ours before anything is timed: shaders are compiled and recorded. */
const WARM_UP = 2;

interface Times {
  readonly prefill: number;
  readonly decode: number;
}

/**
 * The sample model as GGUF on the same adapter as llama.cpp's Vulkan build: milliseconds from a prompt to the first token behind it, and
 * from there to the last of 64, greedy, tokens read by the host, both with the settings that they have by themselves. Ratios are its time
 * over ours, of pairs in alternating order. Its CPU build, with the number of threads that is fastest, is timed afterwards and only printed.
 */
export const claim: Claim = {
  name: 'sample model over llama.cpp',
  async *measure(gpu) {
    const folder = await mkdtemp(join(tmpdir(), 'compressa-llama-speed-'));
    const bytes = await readFile(`${SAMPLE_MODEL}/validation.tokens.u16`);
    const prompt = [...new Uint16Array(bytes.buffer, bytes.byteOffset, PREFILL)];
    try {
      for (const format of FORMATS) {
        const path = join(folder, `${format}.gguf`);
        await compress(await nodeFolder(SAMPLE_MODEL), await nodeFileSink(path), { gpu, format });
        const vulkan = await openFastestLlama({ path, contextSize: CONTEXT, device: 'vulkan' }, THREADS.vulkan, prompt);
        if (typeof vulkan === 'string') {
          yield { claim: format, threshold: 'llama.cpp is there', measured: vulkan, pass: false };
          return;
        }
        const model = await openModel(await openPath(path), { gpu, maxPositions: CONTEXT });
        for (let i = 0; i < WARM_UP; i++) await timeOurs(model.decoder, prompt);
        const ours: Times[] = [];
        const theirs: Times[] = [];
        for (let i = 0; i < PAIRS; i++) {
          const order = [
            async () => ours.push(await timeOurs(model.decoder, prompt)),
            async () => theirs.push(await vulkan.timer.time(prompt, DECODE + 1)),
          ];
          for (const take of i % 2 === 0 ? order : order.reverse()) await take();
        }
        vulkan.timer.close();
        const cpu = await openFastestLlama({ path, contextSize: CONTEXT, device: 'cpu' }, THREADS.cpu, prompt);
        const cpuTimes: Times[] = [];
        if (typeof cpu !== 'string') {
          for (let i = 0; i < PAIRS; i++) cpuTimes.push(await cpu.timer.time(prompt, DECODE + 1));
          cpu.timer.close();
        }
        await model.close();
        for (const what of ['prefill', 'decode'] as const) {
          const count = what === 'prefill' ? PREFILL : DECODE;
          const rate = (times: readonly Times[]) =>
            `${((1000 * count) / median(times.map((each) => each[what]))).toFixed(0)} tokens/s`;
          const ratios = ours.map((each, i) => theirs[i]![what] / each[what]);
          const [low, high] = bootstrapInterval(ratios);
          const beside =
            typeof cpu === 'string' ? cpu : `its CPU build with ${threadsText(cpu.threads)} ${rate(cpuTimes)}`;
          yield {
            claim: `${format}, ${what} of ${count} tokens over llama.cpp on ${vulkan.timer.device} (${threadsText(vulkan.threads)})`,
            threshold: `at least ${FLOORS[what]}x`,
            measured: `${median(ratios).toFixed(2)} (95%: ${low.toFixed(2)} to ${high.toFixed(2)}; ${rate(ours)} and ${rate(theirs)}; ${beside})`,
            pass: low >= FLOORS[what],
          };
        }
      }
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};

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
