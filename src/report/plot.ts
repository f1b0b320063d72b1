import type { TopLevelSpec } from 'vega-lite';

/** A figure of the page. */
export interface Plot {
  readonly title: string;
  /** What to look for. */
  readonly caption: string;
  readonly spec: TopLevelSpec;
}

/** Colours that differ in lightness too, and stand on white and on black. */
export const ORIGINAL = '#8a94a6';
export const COMPRESSED = '#2f7ed8';
export const BAD = '#d1495b';
export const KINDS = [
  '#2f7ed8',
  '#e0a030',
  '#3a9b7a',
  '#d1495b',
  '#8e6bbf',
  '#6b8e23',
  '#c46f9c',
  '#4aa3b5',
  '#8a94a6',
];

/** Of a plot, in pixels; the page scales it to the column. */
export const WIDTH = 620;
export const HEIGHT = 240;

/** Where a tensor belongs: `model.layers.3.mlp.up_proj.weight` is `up_proj` of layer 3. */
export function placeOf({ name, shape }: { readonly name: string; readonly shape: readonly number[] }): {
  layer: string;
  kind: string;
} {
  const layer = /\.(\d+)\./.exec(name)?.[1] ?? 'rest';
  if (shape.length < 2) return { layer, kind: 'norms, biases' };
  return { layer, kind: name.replace(/\.weight$/, '').replace(/^.*\./, '') };
}

/** Layers in their order, what belongs to none last. */
export const layerOrder = (layers: Iterable<string>): string[] =>
  [...new Set(layers)].sort((a, b) => Number(a === 'rest') - Number(b === 'rest') || Number(a) - Number(b));
