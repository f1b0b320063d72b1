import { ShaderError } from '../errors.ts';
import type { Gpu } from './gpu.ts';
import type { Binding, Kernel, ShaderFeature, Step } from './kernel.ts';
import { SUBGROUP_MATRIX } from './matrix-sides.ts';
import { resting } from './resting.ts';
import type { ShaderSource } from './shader-source.ts';

export interface Compiled {
  readonly pipeline: GPUComputePipeline;
  readonly layouts: readonly GPUBindGroupLayout[];
}

/** What the device has to have, and the line that the code begins with. */
const FEATURES: Readonly<Record<ShaderFeature, { readonly device: string; readonly enable: string }>> = {
  f16: { device: 'shader-f16', enable: 'enable f16;' },
  subgroups: { device: 'subgroups', enable: 'enable subgroups;' },
  // Which subgroup a thread is in is the same for all of it, which the analysis doesn't see.
  'subgroup-matrix': {
    device: SUBGROUP_MATRIX,
    enable: 'enable chromium_experimental_subgroup_matrix; diagnostic(off, chromium.subgroup_matrix_uniformity);',
  },
};

/** Builds pipelines from kernels, each once. */
export class Compiler {
  readonly #gpu: Gpu;
  readonly #pipelines = new Map<string, Promise<Compiled>>();
  readonly #ready = new Map<string, Compiled>();
  readonly #modules = new Map<string, GPUShaderModule>();
  readonly #layouts = new Map<string, GPUBindGroupLayout>();

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  /** The pipeline of a step that `prepare` has finished. */
  get(step: Step): Compiled {
    const compiled = this.#ready.get(pipelineKey(step));
    if (!compiled) throw new Error(`Step "${step.label}" was not prepared.`);
    return compiled;
  }

  /**
   * Compiles whatever the steps need and is not there yet, in parallel.
   * @throws ShaderError with the `.wgsl` file, line and source of each message.
   */
  async prepare(steps: readonly Step[]): Promise<void> {
    const pending: Promise<Compiled>[] = [];
    for (const step of steps) {
      const key = pipelineKey(step);
      if (this.#ready.has(key)) continue;
      let compiling = this.#pipelines.get(key);
      if (!compiling) {
        compiling = this.#compile(step).then((compiled) => {
          this.#ready.set(key, compiled);
          return compiled;
        });
        this.#pipelines.set(key, compiling);
        compiling.catch(() => this.#pipelines.delete(key));
      }
      pending.push(compiling);
    }
    await Promise.all(pending);
  }

  async #compile(step: Step): Promise<Compiled> {
    const gpu = this.#gpu;
    const { kernel } = step;
    for (const feature of kernel.features ?? []) {
      const name = FEATURES[feature].device;
      if (!gpu.features.has(name)) {
        throw new ShaderError(`${kernel.source.name} needs the device feature "${name}", which this device lacks.`);
      }
    }
    const text = composeShader(kernel);
    if (gpu.debug >= 2)
      console.error(`── ${kernel.source.name} ${JSON.stringify(kernel.constants ?? {})}\n${text.code}`);
    let module = this.#modules.get(text.code);
    if (!module) {
      // The scope keeps the error from the console: what is thrown below says more.
      gpu.device.pushErrorScope('validation');
      module = gpu.device.createShaderModule({ code: text.code, label: kernel.source.name });
      const scope = gpu.device.popErrorScope().catch(() => null);
      this.#modules.set(text.code, module);
      const { messages } = await module.getCompilationInfo();
      await scope;
      gpu.throwIfLost();
      const errors = messages.filter((message) => message.type === 'error');
      if (errors.length > 0) {
        this.#modules.delete(text.code);
        throw new ShaderError(errors.map((error) => describeMessage(text, error)).join('\n\n'));
      }
    }
    const layouts = [this.#layout(step.bindings, step.params !== undefined)];
    if (step.weight) layouts.push(this.#layout(step.weight, false));
    gpu.counters.pipelines++;
    try {
      const pipeline = await resting(
        gpu.device.createComputePipelineAsync({
          label: kernel.source.name,
          layout: gpu.device.createPipelineLayout({ bindGroupLayouts: layouts }),
          compute: { module, entryPoint: kernel.entryPoint ?? 'main', constants: { ...kernel.constants } },
        }),
      );
      return { pipeline, layouts };
    } catch (cause) {
      const explained = await gpu.explain(cause);
      if (explained !== cause) throw explained;
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new ShaderError(`${kernel.source.name} with ${JSON.stringify(kernel.constants ?? {})}: ${reason}`, {
        cause,
      });
    }
  }

  #layout(bindings: readonly Binding[], withParams: boolean): GPUBindGroupLayout {
    const types: GPUBufferBindingType[] = bindings.map((b) => (b.access === 'read' ? 'read-only-storage' : 'storage'));
    if (withParams) types.push('uniform');
    const key = types.join();
    let layout = this.#layouts.get(key);
    if (!layout) {
      layout = this.#gpu.device.createBindGroupLayout({
        entries: types.map((type, binding) => ({ binding, visibility: 0x4, buffer: { type } })),
      });
      this.#layouts.set(key, layout);
    }
    return layout;
  }
}

const sourceIds = new WeakMap<ShaderSource, number>();
let nextSourceId = 0;
function sourceId(source: ShaderSource): number {
  let id = sourceIds.get(source);
  if (id === undefined) sourceIds.set(source, (id = nextSourceId++));
  return id;
}

/** Steps with the same key run on the same pipeline. */
export function pipelineKey(step: Step): string {
  const { source, format, constants, features, entryPoint } = step.kernel;
  const access = (bindings: readonly Binding[]) => bindings.map((b) => (b.access === 'read' ? 'r' : 'w')).join('');
  return [
    sourceId(source),
    format ? sourceId(format) : '',
    constants ? JSON.stringify(constants) : '',
    features?.join() ?? '',
    entryPoint ?? '',
    access(step.bindings),
    step.weight ? access(step.weight) : '-',
    step.params ? 'p' : '',
  ].join('|');
}

export interface ComposedShader {
  readonly code: string;
  /** For each line of `code`, from the first: the file below `shaders/` and the line there. */
  readonly origins: readonly { readonly file: string; readonly line: number }[];
}

/** Prologue, format file, kernel, each behind what it includes: the only text composition there is. A file is taken once. */
export function composeShader(kernel: Kernel): ComposedShader {
  const code: string[] = [];
  const origins: { file: string; line: number }[] = [];
  for (const feature of kernel.features ?? []) {
    code.push(FEATURES[feature].enable);
    origins.push({ file: 'prologue', line: code.length });
  }
  const taken = new Set<ShaderSource>();
  const take = (source: ShaderSource): void => {
    if (taken.has(source)) return;
    taken.add(source);
    for (const included of source.includes) take(included);
    for (const [i, line] of source.code.split('\n').entries()) {
      if (line === '') continue;
      code.push(line);
      origins.push({ file: `${source.name}.wgsl`, line: i + 1 });
    }
  };
  if (kernel.format) take(kernel.format);
  take(kernel.source);
  return { code: `${code.join('\n')}\n`, origins };
}

/** One compiler message with the real file, line and the source around it. */
export function describeMessage(
  text: ComposedShader,
  message: { lineNum: number; linePos: number; message: string },
): string {
  const at = message.lineNum - 1;
  const origin = text.origins[at];
  const lines = text.code.split('\n');
  const around: string[] = [];
  for (let i = Math.max(0, at - 2); i <= Math.min(text.origins.length - 1, at + 2); i++) {
    around.push(`${i === at ? '>' : ' '} ${String(text.origins[i]!.line).padStart(4)} | ${lines[i]}`);
    if (i === at) around.push(`       | ${' '.repeat(Math.max(0, message.linePos - 1))}^`);
  }
  const where = origin ? `shaders/${origin.file}:${origin.line}:${message.linePos}` : 'unknown line';
  return `${where}: ${message.message}\n${around.join('\n')}`;
}
