// onnxruntime-web on the device of the engine.
import type { OrtSession } from './peers.ts';

/** Where it finds its WebAssembly; in one thread, since it computes on the GPU. */
export function configureOrt(): void {
  ort.env.wasm.wasmPaths = '/peers/onnxruntime-web/dist/';
  ort.env.wasm.numThreads = 1;
}

/** A session on a device of the caller's, with its outputs left there. */
export const openSession = (
  device: GPUDevice,
  model: Uint8Array,
  externalData: readonly { readonly path: string; readonly data: Uint8Array }[],
): Promise<OrtSession> =>
  ort.InferenceSession.create(model, {
    executionProviders: [{ name: 'webgpu', device }],
    externalData,
    preferredOutputLocation: 'gpu-buffer',
    logSeverityLevel: 3,
  });
