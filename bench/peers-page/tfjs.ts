// TensorFlow.js on the device of the engine.
import type { TfTensor } from './peers.ts';

/** Has TensorFlow.js compute on a device of the caller's. Its kernels belong to the name of their backend. */
export async function useTfjs(device: GPUDevice): Promise<void> {
  tf.removeBackend('webgpu');
  tf.registerBackend('webgpu', () => new tf.WebGPUBackend(device, device.adapterInfo));
  await tf.setBackend('webgpu');
}

/** f32 values of a buffer as they are: no copy, and the buffer stays the caller's. */
export const tfTensor = (buffer: GPUBuffer, rows: number, columns: number): TfTensor =>
  tf.tensor({ buffer, zeroCopy: true }, [rows, columns], 'float32');
