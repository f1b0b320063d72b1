import { type HierarchyRectangularNode, hierarchy, treemap, treemapSquarify } from 'd3-hierarchy';
import { byId, make } from '../dom.ts';
import type { Network, TensorEntry } from '../engine/network.ts';
import { cssColour, isLight, magnitudeColour } from '../palette.ts';
import type { Store } from '../store.ts';
import { bytesText } from '../units.ts';
import { MEASURES, type Measure } from '../view-state.ts';

/** A figure of each tensor by name; what is missing is not known yet. */
type MeasureValues = ReadonlyMap<string, number>;

interface Described {
  readonly label: string;
  /** What exactly it is, with its unit. */
  readonly meaning: string;
  /** What a legend and a tensor's label say of a value. */
  readonly text: (value: number) => string;
  /** Why there are no values yet. */
  readonly missing: string;
}

const DESCRIBED: Readonly<Record<Measure, Described>> = {
  magnitude: {
    label: 'magnitude',
    meaning: 'root mean square of the weights',
    text: (x) => x.toPrecision(3),
    missing: 'still being read',
  },
  bits: {
    label: 'bits',
    meaning: 'bits per weight in the file',
    text: (x) => `${Number(x.toPrecision(3))} bits`,
    missing: 'unknown',
  },
  sparsity: {
    label: 'sparsity',
    meaning: 'share of weights that are zero',
    text: (x) => `${Number((100 * x).toPrecision(3))}%`,
    missing: 'still being read',
  },
  error: {
    label: 'error',
    meaning: 'of the compressed model, ‖ΔW‖ / ‖W‖',
    text: (x) => `${Number((100 * x).toPrecision(3))}%`,
    missing: 'verify a compressed model first',
  },
  sensitivity: {
    label: 'sensitivity',
    meaning: 'loss if only this layer is compressed',
    text: (x) => `${x.toPrecision(2)} nats per token`,
    missing: 'verify a compressed model first',
  },
};

interface Node {
  readonly name: string;
  readonly entry?: TensorEntry;
  readonly children?: readonly Node[];
}

/** The part of a tensor's name that its layer does not say already. */
const shortName = (name: string): string =>
  name
    .replace(/^(?:model|transformer)\./, '')
    .replace(/^(?:layers|blk|h|blocks?)\.\d+\./, '')
    .replace(/\.weight$/, '');

/** Layers and tensors, area by bytes, colour by what one asks for: a list of buttons with the arrow keys of one. */
export class NetworkMap {
  readonly #store: Store;
  readonly #box = byId('map');
  #network: Network | undefined;
  #values: (measure: Measure) => MeasureValues = () => new Map();
  #buttons: HTMLButtonElement[] = [];
  #seen = '';

  constructor(store: Store) {
    this.#store = store;
    const measure = byId('measure', HTMLSelectElement);
    measure.append(...MEASURES.map((name) => make('option', { value: name }, DESCRIBED[name].label)));
    measure.value = store.view.measure;
    measure.addEventListener('change', () => store.set({ measure: measure.value as Measure }));
    store.on(['measure'], (view) => {
      measure.value = view.measure;
      this.colour();
    });
    store.on(['tensor'], () => this.#select());
    new ResizeObserver(() => this.#layout()).observe(this.#box);
    this.#box.addEventListener('keydown', (event) => this.#key(event));
  }

  show(network: Network, values: (measure: Measure) => MeasureValues): void {
    this.#network = network;
    this.#values = values;
    this.#seen = '';
    this.#layout();
  }

  #layout(): void {
    const { clientWidth: width, clientHeight: height } = this.#box;
    const network = this.#network;
    const key = `${width} ${height} ${network?.input.name}`;
    if (!network || width === 0 || key === this.#seen) return;
    this.#seen = key;
    const root = hierarchy<Node>(treeOf(network), (node) => node.children as Node[] | undefined)
      .sum((node) => node.entry?.bytes ?? 0)
      .sort((a, b) => orderOf(a) - orderOf(b));
    const placed = treemap<Node>()
      .tile(treemapSquarify.ratio(1.2))
      .size([width, height])
      .paddingInner(1)
      .paddingOuter(({ depth }) => (depth === 1 ? 2 : 0))
      .paddingTop(({ depth, data }) => (depth === 1 && !data.entry ? 15 : 0))(root);
    const labels = placed
      .descendants()
      .filter(({ depth, data }) => depth === 1 && !data.entry)
      .map((node) =>
        make('span', { class: 'layer', style: boxOf(node), 'aria-hidden': true }, make('span', {}, node.data.name)),
      );
    this.#buttons = placed.leaves().map((node) => this.#button(node));
    this.#box.replaceChildren(...labels, ...this.#buttons);
    this.colour();
    this.#select();
  }

  #button(node: HierarchyRectangularNode<Node>): HTMLButtonElement {
    const entry = node.data.entry!;
    const wide = node.x1 - node.x0 > 34 && node.y1 - node.y0 > 13;
    return make(
      'button',
      {
        ...{ class: 'tensor', style: boxOf(node), 'data-name': entry.name, type: 'button', role: 'option' },
        onclick: () => this.#store.set({ tensor: entry.name, place: undefined, page: 'tensor' }),
      },
      wide ? make('span', {}, shortName(entry.name)) : undefined,
    );
  }

  /** Colours all tensors by the chosen measure, as far as it is known. */
  colour(): void {
    const { measure } = this.#store.view;
    const { text, missing, meaning } = DESCRIBED[measure];
    const values = this.#values(measure);
    const entries = new Map(this.#network?.tensors.map((entry) => [entry.name, entry]));
    const known = [...values.values()];
    // Vectors are few and may be of another size than all else: colours are for matrices, and end where theirs do.
    const ofMatrices = [...values]
      .filter(([name]) => (entries.get(name)?.shape.length ?? 0) > 1)
      .map(([, value]) => value);
    const compared = ofMatrices.length > 0 ? ofMatrices : known;
    const [low, high] = [
      measure === 'magnitude' || measure === 'bits' ? Math.min(...compared) : 0,
      Math.max(...compared),
    ];
    for (const button of this.#buttons) {
      const entry = entries.get(button.dataset.name!)!;
      const value = values.get(entry.name);
      const colour = value === undefined ? undefined : magnitudeColour(high > low ? (value - low) / (high - low) : 0.5);
      button.style.background = colour ? cssColour(colour) : '';
      button.style.color = colour ? (isLight(colour) ? '#000000' : '#ffffff') : '';
      const figure = value === undefined ? missing : text(value);
      const size = `${entry.shape.join(' × ')}, ${entry.format}, ${bytesText(entry.bytes)}`;
      button.setAttribute('aria-label', `${entry.name}: ${size}; ${measure}: ${figure}`);
      button.title = `${entry.name}\n${size}\n${measure}: ${figure}`;
    }
    const some = known.length > 0;
    byId('map-legend').hidden = !some;
    byId('map-missing').textContent = some ? '' : `No ${measure} yet: ${missing}.`;
    if (!some) return;
    const stops = Array.from({ length: 9 }, (_, i) => cssColour(magnitudeColour(i / 8))).join(',');
    byId('map-bar').style.background = `linear-gradient(to right, ${stops})`;
    byId('map-low').textContent = text(low);
    byId('map-high').textContent = `${Math.max(...known) > high ? '≥ ' : ''}${text(high)}`;
    byId('map-meaning').textContent = meaning;
  }

  #select(): void {
    const { tensor } = this.#store.view;
    for (const button of this.#buttons) {
      const own = button.dataset.name === tensor;
      button.setAttribute('aria-selected', String(own));
      button.tabIndex = own ? 0 : -1;
    }
    if (!this.#buttons.some(({ tabIndex }) => tabIndex === 0) && this.#buttons[0]) this.#buttons[0].tabIndex = 0;
  }

  /** To the nearest tensor in the direction of an arrow. */
  #key(event: KeyboardEvent): void {
    const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const from = document.activeElement;
    if (!direction || !(from instanceof HTMLButtonElement) || !this.#buttons.includes(from)) return;
    event.preventDefault();
    const [dx, dy] = direction as [number, number];
    const middle = (of: Element) => {
      const { left, top, width, height } = of.getBoundingClientRect();
      return [left + width / 2, top + height / 2] as const;
    };
    const [x, y] = middle(from);
    let best: HTMLButtonElement | undefined;
    let least = Number.POSITIVE_INFINITY;
    for (const button of this.#buttons) {
      const [bx, by] = middle(button);
      const along = (bx - x) * dx + (by - y) * dy;
      if (button === from || along <= 1) continue;
      const cost = along + 2 * Math.abs((bx - x) * dy + (by - y) * dx);
      if (cost < least) [best, least] = [button, cost];
    }
    if (!best) return;
    for (const button of this.#buttons) button.tabIndex = button === best ? 0 : -1;
    best.focus();
  }
}

const orderOf = ({ data }: { readonly data: Node }): number =>
  data.entry?.layer ?? Number(/\d+/.exec(data.name)?.[0] ?? -1);

const boxOf = ({ x0, y0, x1, y1 }: HierarchyRectangularNode<Node>): string =>
  `left:${x0}px;top:${y0}px;width:${Math.max(1, x1 - x0)}px;height:${Math.max(1, y1 - y0)}px`;

function treeOf({ input, tensors }: Network): Node {
  const layers = new Map<number, Node[]>();
  const others: Node[] = [];
  for (const entry of tensors) {
    const node = { name: entry.name, entry };
    if (entry.layer === undefined) others.push(node);
    else layers.set(entry.layer, [...(layers.get(entry.layer) ?? []), node]);
  }
  const grouped = [...layers].map(([layer, children]) => ({ name: `layer ${layer}`, children }));
  return { name: input.name, children: [...others, ...grouped] };
}
