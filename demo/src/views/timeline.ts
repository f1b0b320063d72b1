import type { Stage, TimelineSpan } from '../../../src/index.ts';
import { make } from '../dom.ts';
import { cssColour, magnitudeColour } from '../palette.ts';
import { secondsText } from '../units.ts';

const LANES: readonly Stage[] = ['read', 'compute', 'write'];
const COLOURS = [0.25, 0.5, 0.8].map((x) => cssColour(magnitudeColour(x)));
const [LEFT, LANE, TOP] = [64, 22, 4];

/** The steps of a compression over time: a lane for each stage, and one for tensors as they are finished. */
export class Timeline {
  readonly element: HTMLElement;
  readonly #canvas = make('canvas', {
    role: 'img',
    'aria-label': 'Timeline: nothing was compressed yet',
    hidden: true,
  });
  readonly #text = make('p', { class: 'soft' }, 'What is read, computed and written when, as the model is compressed.');
  readonly spans: TimelineSpan[] = [];
  readonly #finished: number[] = [];
  #started = performance.now();
  #end = 0;
  #frame = 0;

  constructor() {
    this.element = make('div', { class: 'timeline' }, this.#canvas, this.#text);
    new ResizeObserver(() => this.#later()).observe(this.element);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#later());
  }

  begin(): void {
    this.spans.length = this.#finished.length = 0;
    this.#started = performance.now();
    this.#end = 0;
    this.#later();
  }

  span(span: TimelineSpan): void {
    this.spans.push(span);
    this.#end = Math.max(this.#end, span.end);
    this.#later();
  }

  finished(): void {
    this.#finished.push(performance.now() - this.#started);
    this.#end = Math.max(this.#end, this.#finished.at(-1)!);
    this.#later();
  }

  #later(): void {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw(): void {
    const width = this.element.clientWidth;
    if (width === 0 || this.#end === 0) return;
    this.#canvas.hidden = false;
    const height = TOP + LANE * (LANES.length + 1) + 18;
    const ratio = devicePixelRatio;
    Object.assign(this.#canvas, { width: width * ratio, height: height * ratio });
    this.#canvas.style.height = `${height}px`;
    const context = this.#canvas.getContext('2d')!;
    context.scale(ratio, ratio);
    const ink = getComputedStyle(this.element).color;
    context.font = '12px system-ui, sans-serif';
    context.textBaseline = 'middle';
    const x = (time: number) => LEFT + (time / this.#end) * (width - LEFT - 8);
    for (const [lane, name] of [...LANES, 'finished'].entries()) {
      context.fillStyle = ink;
      context.fillText(name, 0, TOP + LANE * lane + LANE / 2);
    }
    for (const { stage, start, end } of this.spans) {
      const lane = LANES.indexOf(stage);
      context.fillStyle = COLOURS[lane]!;
      context.fillRect(x(start), TOP + LANE * lane + 3, Math.max(1, x(end) - x(start)), LANE - 6);
    }
    context.fillStyle = ink;
    for (const time of this.#finished) context.fillRect(x(time), TOP + LANE * LANES.length + 5, 1, LANE - 10);
    for (let i = 0; i <= 4; i++) {
      const time = (this.#end * i) / 4;
      context.textAlign = i === 0 ? 'left' : i === 4 ? 'right' : 'center';
      context.fillText(secondsText(time), x(time), height - 8);
    }
    context.textAlign = 'left';
    const sums = LANES.map((lane) => {
      const sum = this.spans
        .filter(({ stage }) => stage === lane)
        .reduce((all, { start, end }) => all + end - start, 0);
      return `${lane} ${secondsText(sum)}`;
    });
    const text = `${this.#finished.length} tensors in ${secondsText(this.#end)}; ${sums.join(', ')}, side by side where lanes overlap.`;
    this.#text.textContent = text;
    this.#canvas.setAttribute('aria-label', `Timeline: ${text}`);
  }
}
