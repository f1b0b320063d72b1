import { composeShader } from '../../../src/gpu/compiler.ts';
import type { Gpu } from '../../../src/index.ts';
import source from '../../shaders/microscope.wgsl';
import type { TensorSession } from '../engine/tensor-session.ts';
import { darkMode, paletteWords } from '../palette.ts';
import { SHOWN, type Shown } from '../view-state.ts';

/** What a frame shows. */
export interface Frame {
  /** From pixels of the canvas to (column, row): three columns of four floats, as wgpu-matrix has them. */
  readonly toMatrix: Float32Array;
  /** Pixels of the canvas that a weight is wide. */
  readonly pixels: number;
  readonly shown: Shown;
  /** Pixels from the left. */
  readonly divider: number;
  readonly mask: boolean;
  readonly cursor?: { readonly column: number; readonly row: number } | undefined;
}

const VIEW_WORDS = 12 + 32 + 4 + 4 + 4 + 4 + 4;

/** Draws a tensor from the engine's own buffers on the engine's own device. */
export class MicroscopeRenderer {
  readonly #gpu: Gpu;
  readonly #context: GPUCanvasContext;
  readonly #pipeline: GPURenderPipeline;
  readonly #view: GPUBuffer;
  readonly #palette: GPUBuffer;
  #bound: { readonly tensor: TensorSession; readonly group: GPUBindGroup } | undefined;

  private constructor(gpu: Gpu, canvas: HTMLCanvasElement, pipeline: GPURenderPipeline, format: GPUTextureFormat) {
    this.#gpu = gpu;
    this.#context = canvas.getContext('webgpu')!;
    this.#context.configure({ device: gpu.device, format, alphaMode: 'premultiplied' });
    this.#pipeline = pipeline;
    const { device } = gpu;
    this.#view = device.createBuffer({ size: 4 * VIEW_WORDS, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST });
    this.#palette = device.createBuffer({ size: 2048, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST });
    this.paint();
  }

  static async open(gpu: Gpu, canvas: HTMLCanvasElement): Promise<MicroscopeRenderer> {
    const { device } = gpu;
    const format = navigator.gpu.getPreferredCanvasFormat();
    const { code } = composeShader({ source });
    const module = device.createShaderModule({ code, label: source.name });
    const pipeline = await device.createRenderPipelineAsync({
      label: source.name,
      layout: 'auto',
      vertex: { module, entryPoint: 'corner' },
      fragment: { module, entryPoint: 'pixel', targets: [{ format }] },
    });
    return new MicroscopeRenderer(gpu, canvas, pipeline, format);
  }

  /** Takes the colours of the page as it is now, light or dark. */
  paint(): void {
    this.#gpu.device.queue.writeBuffer(this.#palette, 0, paletteWords());
  }

  draw(tensor: TensorSession | undefined, frame: Frame): void {
    const { device } = this.#gpu;
    const encoder = device.createCommandEncoder({ label: 'microscope' });
    const pass = encoder.beginRenderPass({
      colorAttachments: [
        {
          view: this.#context.getCurrentTexture().createView(),
          loadOp: 'clear',
          storeOp: 'store',
          clearValue: [0, 0, 0, 0],
        },
      ],
    });
    if (tensor) {
      device.queue.writeBuffer(this.#view, 0, viewWords(tensor, frame));
      pass.setPipeline(this.#pipeline);
      pass.setBindGroup(0, this.#groupOf(tensor));
      pass.draw(3);
    }
    pass.end();
    device.queue.submit([encoder.finish()]);
  }

  #groupOf(tensor: TensorSession): GPUBindGroup {
    if (this.#bound?.tensor === tensor) return this.#bound.group;
    const buffers = [tensor.before, tensor.after, tensor.mask, tensor.cells];
    const group = this.#gpu.device.createBindGroup({
      layout: this.#pipeline.getBindGroupLayout(0),
      entries: [{ buffer: this.#view }, ...buffers, { buffer: this.#palette }].map((resource, binding) => ({
        binding,
        resource,
      })),
    });
    this.#bound = { tensor, group };
    return group;
  }

  destroy(): void {
    this.#context.unconfigure();
    this.#view.destroy();
    this.#palette.destroy();
  }
}

function viewWords(tensor: TensorSession, frame: Frame): ArrayBuffer {
  const { levels, rows, k } = tensor;
  const data = new ArrayBuffer(4 * VIEW_WORDS);
  const floats = new Float32Array(data);
  const words = new Uint32Array(data);
  floats.set(frame.toMatrix, 0);
  for (const [i, { start, across, side }] of levels.slice(0, 8).entries())
    words.set([start, across, side, 0], 12 + 4 * i);
  words.set([rows, k, levelOf(tensor, frame.pixels), SHOWN.indexOf(frame.shown)], 44);
  const limit = limitOf(tensor, frame.shown, frame.pixels) || 1;
  floats.set([frame.divider, limit, frame.pixels], 48);
  words.set([Number(frame.mask), Number(tensor.masked)], 52);
  floats.set([frame.cursor?.column ?? -1, frame.cursor?.row ?? -1], 54);
  floats.set(darkMode() ? [0.95, 0.3, 0.6, 1] : [0.78, 0.1, 0.42, 1], 56);
  floats.set(darkMode() ? [0.93, 0.94, 0.96, 1] : [0.1, 0.11, 0.14, 1], 60);
  return data;
}

/** Halvings of what a pixel shows: at 0 single weights, at 1 pairs of two, from 2 on cells of the pyramid. */
function levelOf({ levels }: TensorSession, pixels: number): number {
  const level = Math.max(0, Math.round(Math.log2(1 / pixels)));
  return Math.min(level, Math.min(levels.length, 8) + 1);
}

/** Weights along a side of what a pixel shows. */
export const sideOf = (tensor: TensorSession, pixels: number): number => 2 ** levelOf(tensor, pixels);

/** Where colours end: what a legend says. */
export function limitOf(tensor: TensorSession, shown: Shown, pixels: number): number {
  const { summary, figures } = tensor;
  if (shown === 'error') return 3 * Math.sqrt(figures?.error ?? 0) * summary.rms;
  // At three standard deviations: few weights are larger, and would make all others pale. Means of many weights are smaller than each.
  const largest = Math.min(summary.largest, 3 * summary.rms);
  return shown === 'weight' ? largest / sideOf(tensor, pixels) : largest;
}
