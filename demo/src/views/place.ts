import { mat3, vec2 } from 'wgpu-matrix';
import type { Place } from '../view-state.ts';

/** A canvas that shows a matrix: sizes in pixels of the screen, before the device's own ratio. */
export interface Shape {
  readonly width: number;
  readonly height: number;
  readonly rows: number;
  readonly k: number;
}

/** All of the matrix, with a margin. */
export const wholePlace = ({ width, height, rows, k }: Shape): Place => ({
  column: k / 2,
  row: rows / 2,
  zoom: Math.min(64, 0.94 * Math.min(width / k, height / rows)),
});

/** From pixels to (column, row). */
export function toMatrix({ column, row, zoom }: Place, { width, height }: Shape, ratio = 1): Float32Array {
  const m = mat3.translation(vec2.fromValues(column, row));
  mat3.scale(m, [1 / (zoom * ratio), 1 / (zoom * ratio)], m);
  mat3.translate(m, [(-width * ratio) / 2, (-height * ratio) / 2], m);
  return m;
}

/** The weight under a point of the screen; undefined outside of the matrix. */
export function weightUnder(
  x: number,
  y: number,
  place: Place,
  shape: Shape,
): { readonly column: number; readonly row: number } | undefined {
  const [column, row] = vec2.transformMat3([x, y], toMatrix(place, shape));
  const [c, r] = [Math.floor(column!), Math.floor(row!)];
  return c >= 0 && r >= 0 && c < shape.k && r < shape.rows ? { column: c, row: r } : undefined;
}

/** Stays near the matrix and within what can be told apart. */
export function bounded({ column, row, zoom }: Place, shape: Shape): Place {
  const least = Math.min(wholePlace(shape).zoom / 2, 1);
  return {
    column: Math.min(shape.k, Math.max(0, column)),
    row: Math.min(shape.rows, Math.max(0, row)),
    zoom: Math.min(128, Math.max(least, zoom)),
  };
}

/** Zooms by a factor so that what lies under a point stays there. */
export function zoomed(place: Place, factor: number, x: number, y: number, shape: Shape): Place {
  const next = bounded({ ...place, zoom: place.zoom * factor }, shape);
  const [dx, dy] = [x - shape.width / 2, y - shape.height / 2];
  return bounded(
    {
      column: place.column + dx / place.zoom - dx / next.zoom,
      row: place.row + dy / place.zoom - dy / next.zoom,
      zoom: next.zoom,
    },
    shape,
  );
}
