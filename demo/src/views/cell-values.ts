import { byId } from '../dom.ts';
import type { TensorSession } from '../engine/tensor-session.ts';
import type { Place } from '../view-state.ts';
import type { Shape } from './place.ts';

/** Pixels from which a weight is large enough for its number. */
const LEAST = 44;
/** Milliseconds without a move before numbers are read back: some kilobytes. */
const REST = 180;

/** The numbers of weights, written into them where they are large. */
export class CellValues {
  readonly #canvas = byId('values', HTMLCanvasElement);
  #waiting: ReturnType<typeof setTimeout> | undefined;
  #drawn = '';

  /** Shows the numbers of what is seen, once it rests. @param divider in pixels: left of it weights are as they were */
  follow(tensor: TensorSession | undefined, place: Place, shape: Shape, divider: number): void {
    const key = [tensor?.entry.name, tensor?.version, ...Object.values(place), ...Object.values(shape), divider].join(
      ' ',
    );
    if (key === this.#drawn) return;
    clearTimeout(this.#waiting);
    this.#drawn = '';
    this.#canvas.hidden = true;
    if (!tensor || place.zoom < LEAST) return;
    this.#waiting = setTimeout(() => void this.#draw(tensor, place, shape, divider, key), REST);
  }

  async #draw(tensor: TensorSession, place: Place, shape: Shape, divider: number, key: string): Promise<void> {
    const { width, height, rows, k } = shape;
    const range = (middle: number, size: number, count: number) => {
      const half = size / 2 / place.zoom;
      return [Math.max(0, Math.floor(middle - half)), Math.min(count, Math.ceil(middle + half))] as const;
    };
    const [left, right] = range(place.column, width, k);
    const [top, bottom] = range(place.row, height, rows);
    const waiting = this.#waiting;
    let block: { readonly before: Float32Array; readonly after: Float32Array };
    try {
      block = await tensor.block(top, bottom, left, right);
    } catch {
      return; // A lost device says so by itself.
    }
    if (this.#waiting !== waiting) return;
    const ratio = Math.min(2, devicePixelRatio);
    Object.assign(this.#canvas, { width: width * ratio, height: height * ratio });
    const context = this.#canvas.getContext('2d')!;
    context.scale(ratio, ratio);
    const style = getComputedStyle(this.#canvas);
    context.fillStyle = style.color;
    context.strokeStyle = style.getPropertyValue('--card');
    Object.assign(context, { lineWidth: 3, lineJoin: 'round', textAlign: 'center', textBaseline: 'middle' });
    context.font = `${place.zoom >= 60 ? 12 : 10.5}px system-ui, sans-serif`;
    for (let row = top; row < bottom; row++) {
      for (let column = left; column < right; column++) {
        const x = (column + 0.5 - place.column) * place.zoom + width / 2;
        const y = (row + 0.5 - place.row) * place.zoom + height / 2;
        const at = (row - top) * (right - left) + column - left;
        const value = (x < divider ? block.before : block.after)[at]!;
        const text =
          value === 0
            ? '0'
            : value
                .toFixed(Math.abs(value) < 1 ? 3 : 2)
                .replace('-', '−')
                .replace('0.', '.');
        context.strokeText(text, x, y);
        context.fillText(text, x, y);
      }
    }
    this.#drawn = key;
    this.#canvas.hidden = false;
  }
}
