// Which of llama.cpp's Vulkan devices is the engine's.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { sameDevice } from './same-device.ts';

/** Devices that are looked at: each takes a process that starts llama.cpp. */
const MOST_DEVICES = 16;

/** The name of one of ggml's Vulkan devices; undefined where there are not so many. */
export type LlamaDeviceName = (index: number) => Promise<string | undefined>;

/**
 * The number of a GPU among ggml's Vulkan devices, to be given as `GGML_VK_VISIBLE_DEVICES`, or why llama.cpp can't compute on it.
 * @param name of the GPU, by Dawn or by Vulkan
 */
export async function llamaDeviceOf(name: string, nameOf: LlamaDeviceName = namedByLlama): Promise<number | string> {
  const others: string[] = [];
  for (let index = 0; index < MOST_DEVICES; index++) {
    const found = await nameOf(index);
    if (found === undefined) break;
    if (sameDevice(found, name)) return index;
    others.push(found);
  }
  return others.length === 0
    ? 'it finds no Vulkan device: install a driver, such as lavapipe'
    : `it finds no device named ${name}, which ours is measured on, only ${others.join(', ')}`;
}

/** A process for each, since ggml reads the variable once, and is of no use with a number that it does not have. */
const namedByLlama: LlamaDeviceName = async (index) => {
  const script = fileURLToPath(new URL('./llama-device-process.ts', import.meta.url));
  const env = { ...process.env, GGML_VK_VISIBLE_DEVICES: String(index) };
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [...process.execArgv, script], { env });
    return stdout.trim() || undefined;
  } catch {
    return undefined;
  }
};
