// llama.cpp, as node-llama-cpp ships it, as contestants of the suite.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type FastestLlama, openFastestLlama } from '../peers/fastest-llama.ts';
import { llamaDeviceOf } from '../peers/llama-devices.ts';
import type { LlamaStart } from '../peers/llama-timer.ts';
import type { Contestant, ModelWork, Prepared } from '../suite/contestant.ts';
import type { AbsentPeer } from '../suite/results-schema.ts';
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

const SLOW = 'not in a quick run on a software device, where its shaders take minutes to compile: run without --quick';

/** One llama.cpp on a device, which stays open while cases have the same model. */
class LlamaOnDevice {
  readonly #device: LlamaStart['device'];
  readonly #signal: AbortSignal;
  #open: { readonly model: string; readonly folder: string; readonly llama: FastestLlama } | undefined;

  constructor(device: LlamaStart['device'], signal: AbortSignal) {
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
      const llama = await openFastestLlama(start, [...work.prompt], this.#signal);
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
 * without the Vulkan build, whose shaders take minutes to compile there, for each process; runs on a device that it does not have are, too.
 * @param absence what to do where it is not installed
 */
export function openLlamaPeers(
  { quick, software, device, signal }: PeerOptions,
  absence: string | undefined,
  deviceOf = llamaDeviceOf,
): Peers & { readonly absent: AbsentPeer[] } {
  if (absence !== undefined)
    return { contestants: [], absent: [{ name: 'llama.cpp', reason: absence }], close: async () => {} };
  const slow = quick && software;
  const opened = new Map<Device, LlamaOnDevice>();
  const absent: AbsentPeer[] = slow ? [{ name: NAMES.vulkan, reason: SLOW }] : [];
  /** Looked for when the first case asks, since that starts processes. */
  let vulkan: Promise<number | undefined> | undefined;
  const find = async (): Promise<number | undefined> => {
    const found = await deviceOf(device);
    if (typeof found === 'number') return found;
    absent.push({ name: NAMES.vulkan, reason: found });
    return undefined;
  };
  const contestants = (slow ? (['cpu'] as const) : (['vulkan', 'cpu'] as const)).map((build): Contestant => {
    const note = `node-llama-cpp in a process of its own, its ${build === 'cpu' ? 'CPU' : 'Vulkan'} build`;
    return {
      name: NAMES[build],
      note,
      async prepare(work) {
        if (work.kind !== 'model' || !work.gguf) return undefined;
        const on = build === 'cpu' ? build : await (vulkan ??= find());
        if (on === undefined) return undefined;
        const llama = opened.get(build) ?? new LlamaOnDevice(on, signal);
        opened.set(build, llama);
        return prepared(work, await llama.of(work, work.gguf), note);
      },
    };
  });
  return {
    contestants,
    absent,
    async close() {
      for (const llama of opened.values()) await llama.close();
    },
  };
}

async function prepared(
  { prompt, phase, count }: ModelWork,
  { timer, flags }: FastestLlama,
  note: string,
): Promise<Prepared> {
  const tokens = [...prompt];
  const included =
    phase === 'prefill'
      ? 'all tokens at once and the choice of the one behind them, nothing kept from before'
      : 'tokens chosen greedily, each taken through the model and given to the host, behind a prompt that its cache holds';
  const prefill = () => timer.time(tokens, 1);
  const decode = () => timer.time(tokens.slice(-1), count, tokens.length - 1);
  // What decoding goes on behind.
  await prefill();
  return {
    async run() {
      const times = await (phase === 'prefill' ? prefill() : decode());
      return (times.prefill + times.decode) / 1000;
    },
    async check() {
      const written = phase === 'prefill' ? [] : (await decode()).chosen;
      const logits = await timer.logProbabilities([...tokens, ...written.slice(0, -1)]);
      await prefill();
      return Float32Array.from([...written, ...logits]);
    },
    tolerance: ROUNDED,
    note: `${note}, ${flags}; the same weights, as GGUF: ${included}; timed in its process, without the message to it and back`,
    release: () => undefined,
  };
}
