// llama.cpp, as node-llama-cpp ships it, as contestants of the suite.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { type FastestLlama, openFastestLlama, threadsText } from '../peers/fastest-llama.ts';
import type { Contestant, ModelWork, Prepared } from '../suite/contestant.ts';
import type { PeerOptions, Peers } from './peers.ts';

type Device = 'cpu' | 'vulkan';

const NAMES: Readonly<Record<Device, string>> = { vulkan: 'llama.cpp, Vulkan', cpu: 'llama.cpp, CPU' };
/** Positions that its caches have: what both phases of the suite take. */
const CONTEXT = 256;
/**
 * It rounds what goes into a product to eight bits, or to f16, by the device: in `q4_0` that moves logits by up to a 130th of the largest. A model that is not the same is off by as much
 * as logits are large.
 */
const ROUNDED = 0.05;

/** Powers of two up to as many as run at once. The threads of the Vulkan build only wait, and each process compiles its shaders anew. */
const threadCounts = (device: Device): number[] => {
  if (device === 'vulkan') return [1];
  const most = availableParallelism();
  return [...Array.from({ length: Math.floor(Math.log2(most)) + 1 }, (_, i) => 2 ** i).filter((n) => n < most), most];
};

/** One llama.cpp on a device, which stays open while cases have the same model. */
class LlamaOnDevice {
  readonly #device: Device;
  readonly #signal: AbortSignal;
  #open: { readonly model: string; readonly folder: string; readonly llama: FastestLlama } | undefined;

  constructor(device: Device, signal: AbortSignal) {
    this.#device = device;
    this.#signal = signal;
  }

  /** @throws Error where it can't be opened, with its reason */
  async of(work: ModelWork, gguf: () => Promise<Uint8Array>): Promise<FastestLlama> {
    const model = `${work.model} ${work.format}`;
    if (this.#open?.model === model) return this.#open.llama;
    await this.close();
    const folder = await mkdtemp(join(tmpdir(), 'compressa-llama-'));
    try {
      const path = join(folder, 'model.gguf');
      await writeFile(path, await gguf());
      const start = { path, contextSize: CONTEXT, device: this.#device };
      const llama = await openFastestLlama(start, threadCounts(this.#device), [...work.prompt], this.#signal);
      if (typeof llama === 'string') throw new Error(llama);
      this.#open = { model, folder, llama };
      return llama;
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  async close(): Promise<void> {
    const open = this.#open;
    this.#open = undefined;
    open?.llama.timer.close();
    if (open) await rm(open.folder, { recursive: true, force: true });
  }
}

/**
 * Both builds of llama.cpp. A process of its own for each opens the model of a case and serves the cases of that model. Quick runs on a software device are
 * without the Vulkan build, whose shaders take minutes to compile there, for each process.
 * @param absence what to do where it is not installed
 */
export function openLlamaPeers({ quick, software, signal }: PeerOptions, absence: string | undefined): Peers {
  if (absence !== undefined)
    return { contestants: [], absent: [{ name: 'llama.cpp', reason: absence }], close: async () => {} };
  const slow = quick && software;
  const opened: LlamaOnDevice[] = [];
  const contestants = (slow ? (['cpu'] as const) : (['vulkan', 'cpu'] as const)).map((device): Contestant => {
    const llama = new LlamaOnDevice(device, signal);
    opened.push(llama);
    const note = `node-llama-cpp in a process of its own, its ${device === 'cpu' ? 'CPU' : 'Vulkan'} build`;
    return {
      name: NAMES[device],
      note,
      prepare: async (work) =>
        work.kind === 'model' && work.gguf ? prepared(work, await llama.of(work, work.gguf), device, note) : undefined,
    };
  });
  const reason =
    'not in a quick run on a software device, where its shaders take minutes to compile: run without --quick';
  return {
    contestants,
    absent: slow ? [{ name: NAMES.vulkan, reason }] : [],
    async close() {
      for (const llama of opened) await llama.close();
    },
  };
}

async function prepared(
  { prompt, phase, count }: ModelWork,
  { timer, threads }: FastestLlama,
  device: Device,
  note: string,
): Promise<Prepared> {
  const tokens = [...prompt];
  const flags = device === 'cpu' ? 'no layers on a GPU' : `all layers on ${timer.device}`;
  const included =
    phase === 'prefill'
      ? 'all tokens at once and the choice of the one behind them, nothing kept from before'
      : 'tokens chosen greedily, each taken through the model and given to the host, behind a prompt that its cache holds';
  const prefill = () => timer.time(tokens, 1);
  const decode = () => timer.time(tokens.slice(-1), count, tokens.length - 1);
  // What decoding goes on behind.
  await prefill();
  return {
    run: async () => void (await (phase === 'prefill' ? prefill() : decode())),
    async check() {
      const written = phase === 'prefill' ? [] : (await decode()).chosen;
      const logits = await timer.logProbabilities([...tokens, ...written.slice(0, -1)]);
      await prefill();
      return Float32Array.from([...written, ...logits]);
    },
    tolerance: ROUNDED,
    note: `${note}, ${threadsText(threads)}${device === 'cpu' ? ', the fastest number of them' : ''}, ${flags}, batch and context of ${CONTEXT}, else its defaults; the same weights, as GGUF: ${included}; with a message to its process and back`,
    release: () => undefined,
  };
}
