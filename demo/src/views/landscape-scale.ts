import { byId } from '../dom.ts';
import { weightText } from '../units.ts';
import { type cameraFor, type Extent, onFrame } from './landscape-camera.ts';

const SVG = 'http://www.w3.org/2000/svg';
/** Pixels that a number takes beside the post. */
const ROOM = 54;

/** Round numbers from 0 up to `most`, some four of them. */
export function ticks(most: number): number[] {
  if (!(most > 0)) return [0];
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((one) => one * power >= rough * 0.999)!;
  return Array.from({ length: Math.floor(most / step + 1e-6) + 1 }, (_, i) => Number((i * step).toPrecision(6)));
}

/**
 * A post with the heights of the landscape in weights, at the corner that is furthest left, where nothing hides it.
 * @param most the weight that is `height` high
 */
export function drawScale(
  camera: ReturnType<typeof cameraFor>,
  { side, height }: Extent,
  most: number,
  frame: { readonly width: number; readonly height: number },
): void {
  const box = byId('landscape-heights');
  const at = (corner: readonly [number, number], y: number) => onFrame([corner[0], y, corner[1]], camera, frame);
  const half = side / 2;
  const corners = [-half, half].flatMap((x) => [-half, half].map((z) => [x, z] as const));
  const left = (corner: readonly [number, number]) => at(corner, 0)?.[0] ?? Number.POSITIVE_INFINITY;
  const corner = corners.reduce((best, one) => (left(one) < left(best) ? one : best));
  const [foot, top] = [at(corner, 0), at(corner, height)];
  if (!foot || !top) {
    box.replaceChildren();
    return;
  }
  // On the right of the post where there is no room on its left.
  const turned = foot[0] < ROOM;
  const marks = ticks(most).flatMap((value) => {
    const place = at(corner, (value / most) * height);
    if (!place) return [];
    const [x, y] = place;
    const text = draw('text', { x: x + (turned ? 8 : -8), y: y + 4, 'text-anchor': turned ? 'start' : 'end' });
    text.textContent = value === 0 ? '0' : weightText(value).replace(/\.?0+$/, '');
    return [draw('line', { x1: x - 4, y1: y, x2: x + 4, y2: y }), text];
  });
  const name = draw('text', { x: top[0], y: top[1] - 12, 'text-anchor': turned ? 'start' : 'middle' });
  name.textContent = '|weight|';
  box.replaceChildren(draw('line', { x1: foot[0], y1: foot[1], x2: top[0], y2: top[1] }), ...marks, name);
}

function draw(tag: 'line' | 'text', attributes: Readonly<Record<string, string | number>>): SVGElement {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}
