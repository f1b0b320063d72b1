import {
  type CompressReport,
  DeviceLostError,
  type Gpu,
  OutOfMemoryError,
  openGpu,
  type Report,
} from '../../src/index.ts';
import { byId, tabs } from './dom.ts';
import { latest } from './engine/coalesce.ts';
import type { ModelInput } from './engine/model-source.ts';
import { type Network, openNetwork } from './engine/network.ts';
import { keepSample, sampleInput } from './engine/sample-model.ts';
import { type Summary, summarize } from './engine/summary.ts';
import { type Figures, TensorSession } from './engine/tensor-session.ts';
import type { Store } from './store.ts';
import { bytesText, countText } from './units.ts';
import type { Knobs, Measure } from './view-state.ts';
import { drawHistogram, drawSpectrum } from './views/distribution.ts';
import { hideFigures, showFigures } from './views/figures-strip.ts';
import { KnobsPane } from './views/knobs-pane.ts';
import type { Landscape } from './views/landscape.ts';
import { Microscope } from './views/microscope.ts';
import { ModelPanel } from './views/model-panel.ts';
import { NetworkMap } from './views/network-map.ts';
import { clear, explain, isCancelled, progress, say } from './views/notices.ts';

/** Milliseconds without a change of the knobs after which figures are added up as the engine's reports do. */
const REST = 350;

/** Tensors that are read at a time for the map. */
const TOGETHER = 4;

const UNTOUCHED: Knobs = { format: 'keep', pattern: '', rank: 0 };

/** A turn of the knobs; or, once they rest, what waits until then. */
interface Turn {
  readonly knobs: Knobs;
  readonly settle?: boolean;
}

/**
 * The page: one device, one model, one tensor that is looked at. All on the page's thread: a worker would make its turns wait 0.3 ms in place of 0.6 (`bench/claims/demo-threads.ts`), and cost a copy of every event.
 */
export class App {
  readonly store: Store;
  readonly microscope: Microscope;
  readonly #map: NetworkMap;
  readonly #knobs: KnobsPane;
  readonly model: ModelPanel;
  landscape: Landscape | undefined;
  gpu: Gpu | undefined;
  /** The device, once it is open. */
  #device: Promise<Gpu> | undefined;
  network: Network | undefined;
  tensor: TensorSession | undefined;
  /** Whether the page and the sample model are there without a network. */
  keptOffline = false;
  /** Figures of tensors as they are read, and of those of the compressed model. */
  #summaries = new Map<string, Summary>();
  #compressedSummaries: ReadonlyMap<string, Summary> | undefined;
  #report: CompressReport | undefined;
  #verified: Report | undefined;
  /** Of the model that was asked for last, and of the one that is there. */
  #asked = new AbortController();
  #opening = new AbortController();
  #selecting = new AbortController();
  #selected = Promise.resolve();
  #spectrum = new AbortController();
  #resting: ReturnType<typeof setTimeout> | undefined;
  #drawing: ReturnType<typeof setTimeout> | undefined;

  constructor(store: Store) {
    this.store = store;
    this.microscope = new Microscope(store);
    this.#map = new NetworkMap(store);
    this.#knobs = new KnobsPane(store);
    this.model = new ModelPanel(store, {
      engine: () => (this.gpu && this.network ? { gpu: this.gpu, network: this.network } : undefined),
      compressed: (report, summaries) => {
        this.#report = report;
        this.#compressedSummaries = summaries;
        this.#verified = undefined;
        this.#map.colour();
      },
      verified: (report) => {
        this.#verified = report;
        this.#map.colour();
      },
    });
    const page = tabs(byId('pages'), (name) => store.set({ page: name as 'tensor' | 'model' }));
    const panel = tabs(byId('panels'), (name) => store.set({ panel: name as typeof store.view.panel }));
    const show = () => {
      page(store.view.page);
      panel(store.view.panel);
      this.#showPanel();
    };
    store.on(['page', 'panel'], show);
    show();
    store.on(['tensor'], () => {
      this.#selected = this.#select();
    });
    store.on(['knobs'], (view) => void this.#turn({ knobs: view.knobs }));
    store.on(['place'], () => this.landscape?.moved());
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
      this.#map.colour();
      this.#plot();
    });
  }

  /** Opens the device and then the model; once more after a device was lost. */
  async start(input: ModelInput = sampleInput()): Promise<void> {
    progress(0, 'Opening the GPU');
    const opening = new AbortController();
    const network = openNetwork(input, opening.signal);
    network.catch(() => undefined); // `#take` says what is wrong.
    this.#device = openGpu();
    const gpu = await this.#device;
    this.gpu = gpu;
    void gpu.lost.then((error) => this.#lost(gpu, error));
    const attached = this.microscope.attach(gpu);
    const { description, vendor, architecture, software } = gpu.description;
    const name = description || [vendor, architecture].filter(Boolean).join(' ') || 'your GPU';
    byId('device').textContent = `${name}${software ? ', a software device' : ''}`;
    await Promise.all([attached, this.#take(gpu, input, opening, network)]);
  }

  /** Opens a model in place of the one that is there; where it can't be read, that one stays. */
  async open(input: ModelInput): Promise<void> {
    // A file may come before the device is open; where that fails `start` says so.
    const gpu = await this.#device?.catch(() => undefined);
    const opening = new AbortController();
    if (gpu) await this.#take(gpu, input, opening, openNetwork(input, opening.signal));
  }

  async #take(gpu: Gpu, input: ModelInput, opening: AbortController, opened: Promise<Network>): Promise<void> {
    clear('model');
    clear('summary');
    progress(0, `Opening ${input.name}`);
    this.#asked = opening;
    let network: Network;
    try {
      network = await opened;
    } catch (error) {
      if (this.#asked !== opening) return;
      progress(1, '');
      say('model', explain(error));
      return;
    }
    // Another model was asked for meanwhile, or the device is gone.
    if (this.#asked !== opening || this.gpu !== gpu) return network.checkpoint.close();
    this.#opening.abort();
    this.#opening = opening;
    this.#forget();
    await this.network?.checkpoint.close();
    this.network = network;
    byId('model-name').textContent = input.name;
    byId('model-size').textContent = `${countText(network.weights)} weights, ${bytesText(network.bytes)}`;
    if (network.problem)
      say('model', `The model can be looked at and compressed, but not run: ${network.problem}`, 'info');
    this.#map.show(network, (measure) => this.#values(measure));
    this.model.show(network);
    const { tensor } = this.store.view;
    const shown = network.tensors.find(({ name }) => name === tensor) ?? firstToShow(network);
    if (shown && shown.name !== tensor) this.store.set({ tensor: shown.name, place: undefined });
    else this.#selected = this.#select();
    // What one looks at comes first.
    await this.#selected;
    void this.#summarizeAll(gpu, network, opening.signal);
  }

  #forget(): void {
    this.#summaries = new Map();
    this.#compressedSummaries = this.#report = this.#verified = undefined;
  }

  /** Reads all tensors once, for the map's colours, small ones first. */
  async #summarizeAll(gpu: Gpu, network: Network, signal: AbortSignal): Promise<void> {
    const readable = network.tensors.filter(({ problem }) => problem === undefined);
    const order = [...readable].sort((a, b) => a.bytes - b.bytes);
    const total = order.reduce((sum, { bytes }) => sum + bytes, 0);
    let [next, done, shown] = [0, 0, 0];
    const failures: string[] = [];
    const work = async () => {
      for (let entry = order[next++]; entry; entry = order[next++]) {
        try {
          this.#summaries.set(entry.name, await summarize(gpu, network.checkpoint, entry, signal));
        } catch (error) {
          if (signal.aborted || error instanceof DeviceLostError) return;
          // One notice for all of them: a model may hold hundreds of a kind.
          failures.push(explain(error));
          const more = failures.length > 1 ? ` So it is with ${failures.length} tensors.` : '';
          say('summary', `The map has no figures of a tensor. ${failures[0]}${more}`);
        }
        done += entry.bytes;
        progress(done / total, `Reading the network: ${bytesText(done)} of ${bytesText(total)}`);
        if (performance.now() - shown < 150 && done < total) continue;
        shown = performance.now();
        this.#map.colour();
      }
    };
    // Some at once: what takes long for small tensors is waiting for the file and the device.
    await Promise.all(Array.from({ length: TOGETHER }, work));
    if (signal.aborted || this.gpu !== gpu) return;
    this.#map.colour();
    progress(1, '');
    if (network.input.sample) this.keptOffline = await keepSample();
  }

  /** Whether all tensors were read. */
  get summarized(): boolean {
    const readable = this.network?.tensors.filter(({ problem }) => problem === undefined);
    return readable !== undefined && this.#summaries.size >= readable.length;
  }

  #values(measure: Measure): ReadonlyMap<string, number> {
    const { tensors } = this.network!;
    const summaries = measure === 'sparsity' ? (this.#compressedSummaries ?? this.#summaries) : this.#summaries;
    const pick = (value: (name: string, index: number) => number | undefined | null) =>
      new Map(
        tensors.flatMap(({ name }, i) =>
          ((v) => (v === undefined || v === null ? [] : [[name, v] as const]))(value(name, i)),
        ),
      );
    if (measure === 'magnitude') return pick((name) => summaries.get(name)?.rms);
    if (measure === 'sparsity') return pick((name) => summaries.get(name)?.zeros);
    if (measure === 'bits') {
      const after = new Map(this.#report?.tensors.map(({ name, bytesAfter }) => [name, bytesAfter]));
      return pick((name, i) => (8 * (after.get(name) ?? tensors[i]!.bytes)) / (tensors[i]!.rows * tensors[i]!.k));
    }
    if (measure === 'error') {
      const errors = new Map(this.#verified?.size.tensors.map(({ name, relativeError }) => [name, relativeError]));
      return pick((name) => errors.get(name));
    }
    const layers = new Map(
      this.#verified?.accuracy?.sensitivity.map(({ layer, lossIncrease }) => [layer, Math.max(0, lossIncrease)]),
    );
    return pick((_, i) => layers.get(tensors[i]!.layer ?? null));
  }

  /** Brings the selected tensor onto the GPU. */
  async #select(): Promise<void> {
    const { gpu, network } = this;
    const entry = network?.tensors.find(({ name }) => name === this.store.view.tensor);
    if (!gpu || !network || !entry) return;
    this.#selecting.abort();
    // Shown already: the view came back to it.
    if (this.tensor?.entry === entry) return;
    const selecting = new AbortController();
    this.#selecting = selecting;
    clear('tensor');
    try {
      if (entry.problem) throw new Error(entry.problem);
      const tensor = await TensorSession.open(gpu, network.checkpoint, entry, selecting.signal);
      if (selecting.signal.aborted) return tensor.release();
      const last = this.tensor;
      this.tensor = tensor;
      // What the knobs are doing with the last one has to end before its buffers go.
      await this.#turn({ knobs: this.store.view.knobs });
      last?.release();
      if (this.tensor !== tensor) return;
      this.#knobs.show(tensor);
      this.microscope.show(tensor);
      this.landscape?.show(tensor);
    } catch (error) {
      if (isCancelled(error) || selecting.signal.aborted || error instanceof DeviceLostError) return;
      const known = entry.problem !== undefined;
      if (error instanceof OutOfMemoryError) gpu.memory.trim();
      this.#keepLast(network);
      say('tensor', known ? `${entry.name}: ${entry.problem}` : explain(error), known ? 'info' : 'error');
    }
  }

  /** Where a tensor can't be shown the one before it stays, unless that is of another model. */
  #keepLast({ tensors }: Network): void {
    const { tensor } = this;
    if (!tensor) return;
    if (tensors.includes(tensor.entry)) {
      this.store.set({ tensor: tensor.entry.name });
      return;
    }
    this.tensor = undefined;
    this.store.set({ tensor: '' });
    this.#knobs.show(undefined);
    this.microscope.show(undefined);
    this.landscape?.show(undefined);
    hideFigures();
    void this.#turn({ knobs: UNTOUCHED }).then(() => tensor.release());
  }

  readonly #turn = latest<Turn>(
    async ({ knobs, settle }) => {
      const { tensor } = this;
      if (!tensor || this.gpu === undefined) return;
      const before = tensor.version;
      const figures = settle ? await tensor.settle() : await this.#compressed(tensor, knobs);
      if (!figures || this.tensor !== tensor) return;
      showFigures(tensor, figures);
      if (tensor.version !== before) {
        this.microscope.redraw();
        this.landscape?.changed();
        this.#plot();
      }
      clearTimeout(this.#resting);
      if (!settle) this.#resting = setTimeout(() => void this.#turn({ knobs, settle: true }), REST);
    },
    (error) => {
      if (!(error instanceof DeviceLostError) && !isCancelled(error)) say('knobs', explain(error));
    },
  );

  /** Undefined where the knobs don't go together: what they made last stays. */
  async #compressed(tensor: TensorSession, knobs: Knobs): Promise<Figures | undefined> {
    try {
      const figures = await tensor.compress(knobs);
      clear('knobs');
      return figures;
    } catch (error) {
      if (error instanceof DeviceLostError) return undefined;
      say('knobs', explain(error));
      // Something has to be there to be looked at.
      return tensor.figures ? undefined : tensor.compress(UNTOUCHED);
    }
  }

  /** Plots follow a little later than pictures: drawing one takes the page some tens of milliseconds. */
  #plot(): void {
    const { panel, page } = this.store.view;
    if (page !== 'tensor' || (panel !== 'histogram' && panel !== 'spectrum')) return;
    this.#spectrum.abort();
    clearTimeout(this.#drawing);
    this.#drawing = setTimeout(() => void this.#drawPlot(panel), 120);
  }

  async #drawPlot(panel: 'histogram' | 'spectrum'): Promise<void> {
    const { gpu, tensor } = this;
    if (!gpu || !tensor) return;
    this.#spectrum = new AbortController();
    try {
      if (panel === 'histogram') await drawHistogram(tensor);
      else await drawSpectrum(gpu, tensor, this.#spectrum.signal);
    } catch (error) {
      if (!isCancelled(error) && !(error instanceof DeviceLostError)) say('plot', explain(error));
    }
  }

  #showPanel(): void {
    const { page, panel } = this.store.view;
    if (page !== 'tensor') return;
    this.#plot();
    this.microscope.redraw();
    if (panel === 'landscape') void this.#openLandscape();
    this.landscape?.visible(panel === 'landscape');
  }

  async #openLandscape(): Promise<void> {
    const { gpu } = this;
    if (!gpu || this.landscape) return;
    try {
      const { Landscape } = await import('./views/landscape.ts');
      if (this.landscape || this.gpu !== gpu) return;
      this.landscape = new Landscape(gpu, this.store);
      await this.landscape.open();
      this.landscape.show(this.tensor);
      this.landscape.visible(this.store.view.panel === 'landscape');
    } catch (error) {
      if (!(error instanceof DeviceLostError)) say('landscape', explain(error));
    }
  }

  /** A device that is gone: what was on it is made anew on another. */
  async #lost(gpu: Gpu, error: DeviceLostError): Promise<void> {
    if (this.gpu !== gpu) return;
    this.gpu = undefined;
    this.#opening.abort();
    this.#selecting.abort();
    this.landscape?.destroy();
    this.landscape = undefined;
    this.tensor = undefined;
    this.microscope.detach();
    this.model.deviceLost();
    say(
      'device',
      `The GPU was lost (${error.message.split('(')[1]?.split(')')[0] ?? 'unknown'}). The page opens it again.`,
      'info',
    );
    const input = this.network?.input;
    try {
      await this.start(input);
      say(
        'device',
        'The GPU was lost and is open again; what was not downloaded has to be compressed once more.',
        'info',
      );
      this.#showPanel();
    } catch (failure) {
      say('device', `${explain(failure)} Reload the page to try again.`);
    }
  }
}

/** A matrix of a layer that fills a screen which is wider than high. */
function firstToShow({ tensors }: Network) {
  const matrices = tensors.filter(({ shape, problem }) => shape.length === 2 && problem === undefined);
  const linear = matrices.filter(({ role, layer }) => role === 'linear' && layer !== undefined);
  const from = linear.length > 0 ? linear : matrices;
  return from.find(({ rows, k }) => k > rows) ?? from[0] ?? tensors[0];
}
