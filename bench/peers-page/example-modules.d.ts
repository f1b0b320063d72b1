// What the tests use of demo/examples, which are JavaScript as a reader would write it.
declare module '*/demo/examples/onnxruntime-web.js' {
  import type { Gpu, Weight } from 'compressa';

  export const gpu: Gpu;
  export function openSession(model: Uint8Array): Promise<{ release(): Promise<void> }>;
  export function featuresTimesWeight(
    session: object,
    x: GPUBuffer,
    tokens: number,
    width: number,
    weight: Weight,
  ): Promise<GPUBuffer>;
}

declare module '*/demo/examples/tfjs.js' {
  import type { Gpu, Weight } from 'compressa';

  export const gpu: Gpu;
  export function tensorOf(buffer: GPUBuffer, rows: number, columns: number): object;
  export function quantize(tensor: object, format?: string): Promise<Weight>;
}
