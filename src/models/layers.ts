import type { DecoderShape } from './config.ts';
import { failIn } from './config-fields.ts';
import type { LayerSpec } from './decoder-graph.ts';
import { type RopeScaling, ropeOf } from './rope.ts';

export interface RotaryLayerOptions {
  readonly shape: DecoderShape;
  readonly theta: number;
  readonly scaling?: RopeScaling | null | undefined;
  /** Factor on q·k without what YaRN adds. Default: 1/√headDim. */
  readonly scale?: number;
  /** Positions that a token sees; undefined: all. */
  readonly window?: number | undefined;
}

/** A layer with rotary embedding of queries and keys. `file` names the config in messages. @throws ModelError */
export function rotaryLayer(options: RotaryLayerOptions, file: string): LayerSpec {
  const { headDim, maxPositions } = options.shape;
  const { theta, scaling, scale = 1 / Math.sqrt(headDim), window } = options;
  const { rotary, attentionFactor } = ropeOf({ headDim, theta, maxPositions, scaling, fail: failIn(file) });
  // The factor is on queries and on keys.
  return { rotary, window, scale: scale * attentionFactor ** 2 };
}

/** `rope_theta` and how positions are scaled, wherever Transformers 4 or 5 writes them. */
export function ropeFields(
  c: {
    readonly rope_theta?: number | null | undefined;
    readonly rope_scaling?: RopeScaling | null | undefined;
    readonly rope_parameters?: RopeScaling | null | undefined;
  },
  defaultTheta = 10000,
): { readonly theta: number; readonly scaling: RopeScaling | null | undefined } {
  return {
    theta: c.rope_parameters?.rope_theta ?? c.rope_theta ?? defaultTheta,
    scaling: c.rope_parameters ?? c.rope_scaling,
  };
}
