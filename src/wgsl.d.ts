declare module '*.wgsl' {
  import type { ShaderSource } from './gpu/shader-source.ts';

  const source: ShaderSource;
  export default source;
}
