// What pages use of onnxruntime-web and TensorFlow.js, which are scripts of their own there.
import type { MessageType } from '../peers/onnx-model.ts';

export interface OrtTensor {
  readonly gpuBuffer: GPUBuffer;
  readonly dims: readonly number[];
  dispose(): void;
}

export interface OrtSession {
  run(feeds: Record<string, OrtTensor>): Promise<Record<string, OrtTensor>>;
  release(): Promise<void>;
}

export interface TfTensor {
  dispose(): void;
  dataToGPU(): { readonly tensorRef: TfTensor; readonly buffer: GPUBuffer };
}

declare global {
  const ort: {
    readonly env: {
      readonly wasm: { wasmPaths: string; numThreads: number };
      readonly versions: { readonly web: string };
    };
    readonly InferenceSession: { create(model: Uint8Array, options: object): Promise<OrtSession> };
    readonly Tensor: {
      fromGpuBuffer(buffer: GPUBuffer, options: { dataType: 'float32'; dims: readonly number[] }): OrtTensor;
    };
  };
  /** What makes models for onnxruntime-web. */
  const protobuf: {
    parse(schema: string): { readonly root: { lookupType(name: string): MessageType } };
  };
  const tf: {
    readonly version_core: string;
    readonly WebGPUBackend: new (device: GPUDevice, info: GPUAdapterInfo) => object;
    removeBackend(name: string): void;
    registerBackend(name: string, make: () => object): boolean;
    setBackend(name: string): Promise<boolean>;
    tensor(data: { buffer: GPUBuffer; zeroCopy: boolean }, shape: readonly number[], type: 'float32'): TfTensor;
    matMul(a: TfTensor, b: TfTensor, transposeA: boolean, transposeB: boolean): TfTensor;
  };
}
