// ONNX Runtime and Compressa on one GPUDevice: the session's output is multiplied with a compressed weight, without a read-back.
import { linearSteps, openGpu } from 'compressa';
import * as ort from 'onnxruntime-web/webgpu';

export const gpu = await openGpu();

/** A session on the engine's device. Its outputs stay there: by default they would be read back. */
export const openSession = (model) =>
  ort.InferenceSession.create(model, {
    executionProviders: [{ name: 'webgpu', device: gpu.device }],
    preferredOutputLocation: 'gpu-buffer',
  });

/**
 * Runs a model with the input `x` and the output `features`, both f32, and multiplies its output with a weight.
 * @param x GPUBuffer of the engine's device, f32 [tokens, width]
 * @param weight a compressed Weight, [rows, k], where k is the width of `features`
 * @returns GPUBuffer, f32 [tokens, rows]: free it with gpu.memory.release
 */
export async function featuresTimesWeight(session, x, tokens, width, weight) {
  const input = ort.Tensor.fromGpuBuffer(x, { dataType: 'float32', dims: [tokens, width] });
  const { features } = await session.run({ x: input });
  const size = 4 * tokens * weight.rows;
  const y = gpu.memory.allocate(size);
  // The buffer of an output may be larger than the output: state the size.
  const from = { buffer: features.gpuBuffer, size: 4 * tokens * weight.k };
  await gpu.scheduler.run(linearSteps({ x: from, weight, y: { buffer: y, size }, tokens }));
  // Both submit to one queue, in order: the buffer is given back after the product has read it.
  features.dispose();
  return y;
}
