// TensorFlow.js and Compressa on one GPUDevice: what TensorFlow.js has computed is quantized, without a read-back.
import * as tf from '@tensorflow/tfjs-core';
import { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { allocateWeight, formatByName, openGpu, quantizeStep, throwIfNonFinite } from 'compressa';

export const gpu = await openGpu();

// Kernels belong to the name of their backend, so the one on the engine's device has to take that name.
tf.removeBackend('webgpu');
tf.registerBackend('webgpu', () => new WebGPUBackend(gpu.device, gpu.device.adapterInfo));
await tf.setBackend('webgpu');

/** A buffer of the engine as a tensor, f32 [rows, columns]: no copy is made, and the buffer stays yours. */
export const tensorOf = (buffer, rows, columns) => tf.tensor({ buffer, zeroCopy: true }, [rows, columns], 'float32');

/**
 * A tensor, f32 [rows, k], as a compressed weight.
 * @throws NonFiniteError where a value is NaN or infinite
 */
export async function quantize(tensor, format = 'q4_0') {
  const [rows, k] = tensor.shape;
  // Submits what TensorFlow.js has recorded, and copies it on the device.
  const { tensorRef, buffer } = tensor.dataToGPU();
  const weight = allocateWeight(gpu, formatByName(format), rows, k, 'from TensorFlow.js');
  // Where the quantizer says which value is NaN or infinite: four bytes, all that is read back.
  const bad = { buffer: gpu.memory.allocate(4), size: 4 };
  gpu.clear(bad.buffer);
  try {
    // A small weight: a large one comes in parts, each with rows of its own.
    const [part] = weight.parts;
    const from = { buffer, size: 4 * rows * k };
    await gpu.scheduler.run([
      quantizeStep({ source: formatByName('f32'), from, format: weight.format, to: part.arrays, rows, k, bad }),
    ]);
    throwIfNonFinite(new Uint32Array((await gpu.readBack(bad.buffer, 0, 4)).buffer)[0], k, 'from TensorFlow.js');
    return weight;
  } catch (error) {
    weight.release();
    throw error;
  } finally {
    gpu.memory.release(bad.buffer);
    tensorRef.dispose();
  }
}
