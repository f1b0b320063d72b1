import type { OnnxWeight } from './peers/onnx-model.ts';

/** Weights of a format's size whose values are elsewhere: for models that are made apart from them. */
export function blankWeights(format: string, size: number, count: number): OnnxWeight[] {
  const weights = { values: size * size, blocks: (size * size) / 32 };
  const bits = { 'int4-g32-f32': 4, 'int8-g32-f32': 8 }[format];
  const one: OnnxWeight =
    bits === 4 || bits === 8
      ? {
          kind: 'blocks',
          bits,
          block: 32,
          codes: new Uint8Array((weights.values * bits) / 8),
          scales: new Float32Array(weights.blocks),
        }
      : { kind: 'dense', values: new Float32Array(weights.values) };
  return Array.from({ length: count }, () => one);
}
