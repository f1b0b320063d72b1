import type { Gpu } from '../../../src/index.ts';
import { byId, make } from '../dom.ts';
import type { TensorSession } from '../engine/tensor-session.ts';
import { cssColour, magnitudeColour, signedColour } from '../palette.ts';
import type { Store } from '../store.ts';
import { countText, weightText } from '../units.ts';
import { type Place, SHOWN, type Shown } from '../view-state.ts';
import { CellValues } from './cell-values.ts';
import { limitOf, MicroscopeRenderer, sideOf } from './microscope-renderer.ts';
import { bounded, type Shape, toMatrix, weightUnder, wholePlace, zoomed } from './place.ts';

const NAMES: Readonly<Record<Shown, { readonly one: string; readonly many: string }>> = {
  weight: { one: 'weight', many: 'mean weight' },
  magnitude: { one: '|weight|', many: 'root mean square' },
  error: { one: '|error|', many: 'root mean square error' },
};

/** The matrix from afar down to single weights, before and after, with the mask over it. */
export class Microscope {
  readonly #store: Store;
  readonly #canvas = byId('microscope-canvas', HTMLCanvasElement);
  readonly #divider = byId('divider');
  readonly #tip = byId('tip');
  readonly #spoken = byId('spoken');
  readonly #values = new CellValues();
  #renderer: MicroscopeRenderer | undefined;
  #tensor: TensorSession | undefined;
  #cursor: { column: number; row: number } | undefined;
  #asking = false;
  #frame = 0;
  /** Frames drawn: tests see that the page draws when something changed, and only then. */
  frames = 0;

  constructor(store: Store) {
    this.#store = store;
    this.#listen();
    store.on(['shown', 'mask', 'divider', 'place', 'panel', 'page'], () => this.redraw());
    new ResizeObserver(() => this.redraw()).observe(this.#canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
      this.#renderer?.paint();
      this.redraw();
    });
  }

  async attach(gpu: Gpu): Promise<void> {
    this.#renderer?.destroy();
    this.#renderer = await MicroscopeRenderer.open(gpu, this.#canvas);
    this.redraw();
  }

  detach(): void {
    this.#tensor = undefined;
    this.#renderer = undefined;
  }

  show(tensor: TensorSession | undefined): void {
    if (this.#tensor !== tensor) this.#cursor = undefined;
    this.#tensor = tensor;
    this.redraw();
  }

  redraw(): void {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  get #shape(): Shape {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    return { width, height, rows: this.#tensor?.rows ?? 1, k: this.#tensor?.k ?? 1 };
  }

  get place(): Place {
    const shape = this.#shape;
    const { place } = this.#store.view;
    return place ? bounded(place, shape) : wholePlace(shape);
  }

  #draw(): void {
    const { view } = this.#store;
    const shape = this.#shape;
    if (!this.#renderer || shape.width === 0 || view.panel !== 'microscope') return;
    const ratio = Math.min(2, devicePixelRatio);
    const [width, height] = [Math.round(shape.width * ratio), Math.round(shape.height * ratio)];
    if (this.#canvas.width !== width || this.#canvas.height !== height) Object.assign(this.#canvas, { width, height });
    const { place } = this;
    this.#renderer.draw(this.#tensor, {
      ...{ toMatrix: toMatrix(place, shape, ratio), pixels: place.zoom * ratio, shown: view.shown, mask: view.mask },
      divider: view.shown === 'error' ? -1 : Math.round(view.divider * width),
      cursor: this.#cursor,
    });
    this.frames++;
    this.#divider.hidden = view.shown === 'error' || !this.#tensor;
    this.#divider.style.left = `${100 * view.divider}%`;
    this.#divider.setAttribute('aria-valuenow', String(Math.round(100 * view.divider)));
    this.#values.follow(this.#tensor, place, shape, view.divider * shape.width);
    this.#legend();
  }

  #legend(): void {
    const { shown } = this.#store.view;
    const tensor = this.#tensor;
    const colour = shown === 'weight' ? signedColour : magnitudeColour;
    const stops = Array.from({ length: 13 }, (_, i) => cssColour(colour(i / 12))).join(',');
    const { zoom } = this.place;
    const pixels = zoom * Math.min(2, devicePixelRatio);
    const limit = tensor ? limitOf(tensor, shown, pixels) : 0;
    const side = tensor ? sideOf(tensor, pixels) : 1;
    byId('legend-bar').style.background = `linear-gradient(to right, ${stops})`;
    byId('legend-low').textContent = shown === 'weight' ? `≤ ${weightText(-limit)}` : '0';
    byId('legend-high').textContent = `≥ ${weightText(limit)}`;
    byId('legend-name').textContent = side === 1 ? NAMES[shown].one : `${NAMES[shown].many} of ${side} × ${side}`;
    byId('scale').textContent =
      zoom >= 1
        ? `1 weight = ${Number(zoom.toPrecision(2))} px`
        : `1 px = ${Number((1 / zoom).toPrecision(2))} × ${Number((1 / zoom).toPrecision(2))} weights`;
  }

  #move(place: Place): void {
    this.#store.set({ place: bounded(place, this.#shape) });
  }

  #listen(): void {
    const canvas = this.#canvas;
    const pointers = new Map<number, PointerEvent>();
    canvas.addEventListener('pointerdown', (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, event);
    });
    const end = (event: PointerEvent) => pointers.delete(event.pointerId);
    canvas.addEventListener('pointerup', end);
    canvas.addEventListener('pointercancel', end);
    canvas.addEventListener('pointerleave', () => this.#point(undefined));
    canvas.addEventListener('pointermove', (event) => {
      const last = pointers.get(event.pointerId);
      if (!last) return void this.#point(event);
      const { place } = this;
      const other = [...pointers.values()].find(({ pointerId }) => pointerId !== event.pointerId);
      pointers.set(event.pointerId, event);
      const [dx, dy] = [event.offsetX - last.offsetX, event.offsetY - last.offsetY];
      if (!other)
        return this.#move({ ...place, column: place.column - dx / place.zoom, row: place.row - dy / place.zoom });
      const apart = (one: PointerEvent) => Math.hypot(one.offsetX - other.offsetX, one.offsetY - other.offsetY) || 1;
      const [x, y] = [(event.offsetX + other.offsetX) / 2, (event.offsetY + other.offsetY) / 2];
      this.#move(zoomed(place, apart(event) / apart(last), x, y, this.#shape));
    });
    canvas.addEventListener(
      'wheel',
      (event) => {
        event.preventDefault();
        const factor = Math.exp(-event.deltaY * (event.deltaMode === 1 ? 0.05 : 0.0016));
        this.#move(zoomed(this.place, factor, event.offsetX, event.offsetY, this.#shape));
      },
      { passive: false },
    );
    canvas.addEventListener('keydown', (event) => this.#key(event));
    byId('zoom-in').addEventListener('click', () => this.#zoom(2));
    byId('zoom-out').addEventListener('click', () => this.#zoom(0.5));
    byId('zoom-fit').addEventListener('click', () => this.#store.set({ place: undefined }));
    const shown = byId('shown', HTMLSelectElement);
    shown.append(...SHOWN.map((name) => make('option', { value: name }, name)));
    shown.value = this.#store.view.shown;
    shown.addEventListener('change', () => this.#store.set({ shown: shown.value as Shown }));
    const mask = byId('show-mask', HTMLInputElement);
    mask.checked = this.#store.view.mask;
    mask.addEventListener('change', () => this.#store.set({ mask: mask.checked }));
    this.#store.on(['shown', 'mask'], (view) => {
      shown.value = view.shown;
      mask.checked = view.mask;
    });
    this.#listenDivider();
  }

  #zoom(factor: number): void {
    const { width, height } = this.#shape;
    this.#move(zoomed(this.place, factor, width / 2, height / 2, this.#shape));
  }

  #listenDivider(): void {
    const divider = this.#divider;
    const set = (share: number) => this.#store.set({ divider: Math.min(1, Math.max(0, share)) });
    divider.addEventListener('pointerdown', (event) => {
      divider.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    divider.addEventListener('pointermove', (event) => {
      if (!divider.hasPointerCapture(event.pointerId)) return;
      const { left, width } = this.#canvas.getBoundingClientRect();
      set((event.clientX - left) / width);
    });
    divider.addEventListener('keydown', (event) => {
      const { divider: now } = this.#store.view;
      const to = { ArrowLeft: now - 0.02, ArrowRight: now + 0.02, Home: 0, End: 1 }[event.key];
      if (to === undefined) return;
      set(to);
      event.preventDefault();
    });
  }

  /** Arrows move the view, or with Shift a cursor from weight to weight, which is read out. */
  #key(event: KeyboardEvent): void {
    const { place } = this;
    const shape = this.#shape;
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (arrow) {
      const [dx, dy] = arrow as [number, number];
      event.preventDefault();
      if (!event.shiftKey) {
        const step = 48 / place.zoom;
        this.#move({ ...place, column: place.column + dx * step, row: place.row + dy * step });
        return;
      }
      const from = this.#cursor ?? { column: Math.floor(place.column), row: Math.floor(place.row) };
      const column = Math.min(shape.k - 1, Math.max(0, from.column + dx));
      const row = Math.min(shape.rows - 1, Math.max(0, from.row + dy));
      this.#cursor = { column, row };
      this.redraw();
      const [x, y] = [(column + 0.5 - place.column) * place.zoom, (row + 0.5 - place.row) * place.zoom];
      return void this.#ask({ column, row }, x + shape.width / 2, y + shape.height / 2, true);
    }
    const act = {
      '+': () => this.#zoom(1.5),
      '=': () => this.#zoom(1.5),
      '-': () => this.#zoom(1 / 1.5),
      '0': () => this.#store.set({ place: undefined }),
      Escape: () => this.#point(undefined),
    }[event.key];
    if (!act) return;
    act();
    event.preventDefault();
  }

  #point(event: PointerEvent | undefined): void {
    const under = event && weightUnder(event.offsetX, event.offsetY, this.place, this.#shape);
    if (!event || !under) {
      this.#tip.hidden = true;
      if (this.#cursor) this.redraw();
      this.#cursor = undefined;
      return;
    }
    this.#cursor = under;
    this.redraw();
    void this.#ask(under, event.offsetX, event.offsetY, false);
  }

  /** Reads one weight back, no more than one at a time. */
  async #ask(at: { column: number; row: number }, x: number, y: number, aloud: boolean): Promise<void> {
    const tensor = this.#tensor;
    if (!tensor || this.#asking) return;
    this.#asking = true;
    try {
      const { before, after, kept } = await tensor.weightAt(at.row, at.column);
      if (this.#tensor !== tensor || !this.#cursor) return;
      const where = `row ${countText(at.row)}, column ${countText(at.column)}`;
      const fate = kept ? '' : ', pruned';
      this.#tip.replaceChildren(
        make('b', {}, where),
        make('span', {}, `before ${weightText(before)}`),
        make('span', {}, `after ${weightText(after)}${fate}`),
        make('span', {}, `error ${weightText(after - before)}`),
      );
      this.#tip.hidden = false;
      const { width, height } = this.#shape;
      this.#tip.style.left = `${Math.min(Math.max(0, x + 14), Math.max(0, width - this.#tip.offsetWidth))}px`;
      this.#tip.style.top = `${Math.min(Math.max(0, y + 14), Math.max(0, height - this.#tip.offsetHeight))}px`;
      if (aloud) this.#spoken.textContent = `${where}: before ${weightText(before)}, after ${weightText(after)}${fate}`;
    } catch {
      // A device that is lost: the page says so by itself.
    } finally {
      this.#asking = false;
    }
  }
}
