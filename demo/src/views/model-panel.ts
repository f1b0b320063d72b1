import { type CompressReport, type Gpu, type Report, reportMarkdown } from '../../../src/index.ts';
import { byId, make } from '../dom.ts';
import { type Network, openNetwork } from '../engine/network.ts';
import { type Summary, summarize } from '../engine/summary.ts';
import { type Compressed, compressModel, needsInputs, verifyModels } from '../engine/whole-model.ts';
import type { Store } from '../store.ts';
import { bytesText, percentText } from '../units.ts';
import { explain, isCancelled } from './notices.ts';
import { RecipeEditor } from './recipe-editor.ts';
import { writeSideBySide } from './side-by-side.ts';
import { Timeline } from './timeline.ts';

interface Hooks {
  readonly engine: () => { readonly gpu: Gpu; readonly network: Network } | undefined;
  readonly compressed: (report: CompressReport, summaries: ReadonlyMap<string, Summary>) => void;
  readonly verified: (report: Report) => void;
}

/** The whole model: a recipe, the passes as they run, both models on one prompt, the report, and what one takes home. */
export class ModelPanel {
  readonly #hooks: Hooks;
  readonly #editor: RecipeEditor;
  readonly #timeline = new Timeline();
  readonly #status = make('p', { id: 'model-status', role: 'status' });
  readonly #bar = make('progress', {
    max: 1,
    value: 0,
    hidden: true,
    'aria-label': 'Progress of the work on the model',
  });
  readonly #cancel = make('button', { type: 'button', disabled: true }, 'Cancel');
  readonly #compress = make('button', { type: 'button', id: 'compress', class: 'main' }, 'Compress');
  readonly #write = make('button', { type: 'button', id: 'write', disabled: true }, 'Write side by side');
  readonly #verify = make('button', { type: 'button', id: 'verify', disabled: true }, 'Verify');
  readonly #prompt = make('input', { id: 'prompt', type: 'text', autocomplete: 'off' });
  readonly #tokens = make('input', { id: 'tokens', type: 'number', min: 2, max: 1024, value: 64 });
  readonly #windows = make('input', { id: 'windows', type: 'number', min: 1, max: 1000, value: 6 });
  readonly #speed = make('input', { type: 'checkbox', checked: true });
  readonly #texts = make('div', { class: 'tools', hidden: true });
  readonly #written = make('div', { id: 'written' });
  readonly #downloads = make('ul', { id: 'downloads' });
  readonly #reportBox = make('div', { id: 'report' });
  readonly #chosen: Partial<Record<'calibration' | 'validation', File>> = {};
  readonly #urls: string[] = [];
  #running: AbortController | undefined;
  compressed: Compressed | undefined;
  report: Report | undefined;
  /** Tokens per second of the original and the compressed model, when they wrote last. */
  rates: readonly number[] | undefined;

  constructor(store: Store, hooks: Hooks) {
    this.#hooks = hooks;
    this.#editor = new RecipeEditor(store);
    this.#prompt.value = store.view.prompt;
    this.#prompt.addEventListener('input', () => store.set({ prompt: this.#prompt.value }));
    this.#cancel.addEventListener('click', () => this.#running?.abort());
    this.#compress.addEventListener(
      'click',
      () => void this.#run('Compressing', (signal) => this.#compressAll(signal)),
    );
    this.#write.addEventListener('click', () => void this.#run('Writing', (signal) => this.#writeBoth(signal)));
    this.#verify.addEventListener('click', () => void this.#run('Verifying', (signal) => this.#verifyBoth(signal)));
    this.#texts.append(
      this.#textPicker('calibration', 'text to calibrate by'),
      this.#textPicker('validation', 'held-out text to score'),
    );
    byId('model-page').append(
      make(
        'section',
        {},
        this.#editor.element,
        this.#texts,
        make('div', { class: 'tools' }, this.#compress, this.#cancel, this.#bar, this.#status),
      ),
      make('section', {}, make('h2', {}, 'Timeline'), this.#timeline.element),
      make(
        'section',
        {},
        make('h2', {}, 'Both models on one prompt'),
        make(
          'div',
          { class: 'tools' },
          make('label', { class: 'grow' }, 'prompt ', this.#prompt),
          make('label', {}, 'tokens ', this.#tokens),
          this.#write,
        ),
        this.#written,
      ),
      make(
        'section',
        {},
        make('h2', {}, 'Verification'),
        make(
          'div',
          { class: 'tools' },
          make('label', {}, 'windows of 128 tokens ', this.#windows),
          make('label', {}, this.#speed, ' measure the speed'),
          this.#verify,
        ),
        this.#reportBox,
      ),
      make('section', {}, make('h2', {}, 'Take home'), this.#downloads),
    );
  }

  show(network: Network): void {
    this.#running?.abort();
    this.#texts.hidden = network.input.text !== undefined;
    this.#reset();
    this.#status.textContent = '';
  }

  deviceLost(): void {
    this.#running?.abort();
    this.#reset();
  }

  #reset(): void {
    this.compressed = undefined;
    this.report = undefined;
    this.rates = undefined;
    this.#written.replaceChildren();
    this.#reportBox.replaceChildren();
    this.#downloads.replaceChildren(make('li', { class: 'soft' }, 'Compress the model first.'));
    for (const url of this.#urls.splice(0)) URL.revokeObjectURL(url);
    this.#buttons();
  }

  #buttons(): void {
    const busy = this.#running !== undefined;
    const runs = this.compressed !== undefined && this.#hooks.engine()?.network.graph !== undefined;
    this.#compress.disabled = busy;
    this.#cancel.disabled = !busy;
    this.#write.disabled = busy || !runs;
    this.#verify.disabled = busy || !this.compressed;
  }

  #textPicker(use: 'calibration' | 'validation', label: string): HTMLElement {
    const input = make('input', { type: 'file', accept: '.txt,text/plain' });
    input.addEventListener('change', () => {
      const [file] = input.files ?? [];
      if (file) this.#chosen[use] = file;
      else delete this.#chosen[use];
    });
    return make('label', {}, `${label} `, input);
  }

  #textFor(use: 'calibration' | 'validation'): (() => Promise<string>) | undefined {
    const own = this.#hooks.engine()?.network.input.text;
    if (own) return () => own(use);
    const file = this.#chosen[use];
    return file && (() => file.text());
  }

  /** One piece of work at a time, with its progress, its end and its error in words. */
  async #run(what: string, work: (signal: AbortSignal) => Promise<string>): Promise<void> {
    if (this.#running) return;
    const running = new AbortController();
    this.#running = running;
    this.#buttons();
    this.#progress(0, what);
    try {
      this.#status.textContent = await work(running.signal);
    } catch (error) {
      this.#status.textContent =
        running.signal.aborted || isCancelled(error) ? `${what} was cancelled.` : explain(error);
    } finally {
      this.#running = undefined;
      this.#bar.hidden = true;
      this.#buttons();
    }
  }

  #progress(share: number, text: string): void {
    this.#bar.hidden = false;
    this.#bar.value = share;
    this.#status.textContent = text;
  }

  #engine() {
    const engine = this.#hooks.engine();
    if (!engine) throw new Error('no GPU is open');
    return engine;
  }

  async #compressAll(signal: AbortSignal): Promise<string> {
    const { gpu, network } = this.#engine();
    const { recipe } = this.#editor;
    if (!recipe) return 'Correct the recipe first: what is wrong stands below it.';
    const text = this.#textFor('calibration');
    if (needsInputs(recipe) && !text)
      return 'This recipe has to see what inputs are like: choose a text to calibrate by.';
    this.#reset();
    this.#timeline.begin();
    let last = '';
    const compressed = await compressModel(gpu, network, recipe, text, {
      signal,
      onProgress: ({ done, total, tensor, stage }) => {
        if (stage) return this.#progress(stage.done / stage.total, `Before anything is written: ${stage.name}`);
        if (tensor !== last) this.#timeline.finished();
        last = tensor;
        this.#progress(done / total, `Compressing: ${bytesText(done)} of ${bytesText(total)}, ${tensor}`);
      },
      onTimeline: (span) => this.#timeline.span(span),
    });
    this.compressed = compressed;
    this.#offer();
    const { report } = compressed;
    this.#hooks.compressed(report, await this.#summaries(gpu, compressed, signal));
    return (
      `${bytesText(report.bytesBefore)} became ${bytesText(report.bytesAfter)} ` +
      `(${percentText(report.bytesAfter / report.bytesBefore)}), ${report.bitsPerWeight.all.toFixed(2)} bits per weight, in ${report.seconds.toFixed(1)} s. ${report.notices.join(' ')}`
    );
  }

  /** What the map shows of the compressed model. */
  async #summaries(gpu: Gpu, { input }: Compressed, signal: AbortSignal): Promise<Map<string, Summary>> {
    const network = await openNetwork(input, signal);
    const summaries = new Map<string, Summary>();
    try {
      for (const entry of network.tensors) {
        if (!entry.problem) summaries.set(entry.name, await summarize(gpu, network.checkpoint, entry, signal));
      }
    } finally {
      await network.checkpoint.close();
    }
    return summaries;
  }

  async #writeBoth(signal: AbortSignal): Promise<string> {
    const { gpu, network } = this.#engine();
    const inputs = [network.input, this.compressed!.input] as const;
    const tokens = Math.min(1024, Math.max(2, Math.floor(this.#tokens.valueAsNumber || 64)));
    this.rates = await writeSideBySide(gpu, inputs, { prompt: this.#prompt.value, tokens }, this.#written, signal);
    const [before, after] = this.rates as [number, number];
    return `The original writes ${before.toFixed(1)} tokens/s, the compressed model ${after.toFixed(1)} on this device, taking turns.`;
  }

  async #verifyBoth(signal: AbortSignal): Promise<string> {
    const { gpu, network } = this.#engine();
    const text = this.#textFor('validation');
    if (!text) return 'Choose a text to score the models on: one that they were not calibrated by.';
    const report = await verifyModels(gpu, network.input, this.compressed!.input, {
      ...{
        text: await text(),
        windows: this.#windows.valueAsNumber || 6,
        window: 128,
        speed: this.#speed.checked,
        signal,
      },
      onProgress: ({ stage, done, total, unit, what }) =>
        this.#progress(
          total > 0 ? done / total : 0,
          `Verifying: ${stage}, ${done} of ${total} ${unit}${what ? `, ${what}` : ''}`,
        ),
    });
    this.report = report;
    const { reportHtml } = await import('../../../src/report/html.ts');
    const page = await reportHtml(report);
    this.#reportBox.replaceChildren(make('iframe', { title: 'Verification report', sandbox: '', srcdoc: page }));
    this.#offer(page);
    this.#hooks.verified(report);
    const { accuracy } = report;
    return accuracy?.perplexity.compressed
      ? `Perplexity ${accuracy.perplexity.original.toFixed(3)} became ${accuracy.perplexity.compressed.toFixed(3)}.`
      : 'The report is below.';
  }

  /** Links to everything that there is. */
  #offer(page?: string): void {
    for (const url of this.#urls.splice(0)) URL.revokeObjectURL(url);
    const { files, report } = this.compressed!;
    const json = (data: unknown) => new Blob([`${JSON.stringify(data, undefined, 2)}\n`], { type: 'application/json' });
    const all: [string, Blob, string][] = [...files].map(([name, blob]) => [name, blob, 'of the compressed model']);
    all.push(['recipe.json', json(report.recipe), 'the recipe, for compressa compress --recipe']);
    all.push(['compression.json', json(report), 'what became of each tensor']);
    if (this.report && page) {
      all.push(['report.html', new Blob([page], { type: 'text/html' }), 'the verification report with its plots']);
      all.push(['report.json', json(this.report), 'the same as data']);
      all.push(['report.md', new Blob([reportMarkdown(this.report)], { type: 'text/markdown' }), 'the same as text']);
    }
    const links = all.map(([name, blob, what]) => {
      const url = URL.createObjectURL(blob);
      this.#urls.push(url);
      return make('li', {}, make('a', { href: url, download: name }, name), ` ${bytesText(blob.size)}, ${what}`);
    });
    this.#downloads.replaceChildren(...links);
  }
}
