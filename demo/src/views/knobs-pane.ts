import type { BindingApi } from '@tweakpane/core';
import { Pane } from 'tweakpane';
import { byId, make } from '../dom.ts';
import { choiceOf, formatChoices, formatOf, type Group, groupChoices, methodChoices } from '../engine/knobs.ts';
import { recipeOfKnobs } from '../engine/recipe-of-knobs.ts';
import type { TensorSession } from '../engine/tensor-session.ts';
import type { Store } from '../store.ts';
import type { Knobs } from '../view-state.ts';
import { labelPane } from './label-pane.ts';
import { patternText, type SparsityKnobs, sparsityOf } from './sparsity-knobs.ts';

/** What the pane's controls hold. */
interface Values extends SparsityKnobs {
  format: string;
  group: Group;
  method: string;
  rank: number;
  packed: boolean;
}

/** The knobs of a tensor: they list what formats, methods and patterns the engine has. */
export class KnobsPane {
  readonly #store: Store;
  #pane: Pane | undefined;
  #tensor: TensorSession | undefined;
  /** For which choices the controls were made: others come and go with them. */
  #built = '';
  #building: ReturnType<typeof setTimeout> | undefined;
  readonly #controls = make('div');
  readonly #whole = make('button', { type: 'button', class: 'whole', hidden: true }, 'Use for the whole model');
  readonly #note = make(
    'p',
    { class: 'soft', hidden: true },
    'gptq, awq and smoothquant, and the scores wanda and obs, need to see what a matrix is multiplied with: they are offered for the whole model.',
  );
  readonly #values: Values = { format: 'q4_0', group: 64, method: '', rank: 0, packed: false, ...sparsityOf('') };

  constructor(store: Store) {
    this.#store = store;
    store.on(['knobs'], () => this.#take());
    this.#whole.addEventListener('click', () => store.set({ page: 'model', recipe: recipeOfKnobs(store.view.knobs) }));
    byId('knobs').append(this.#controls, this.#whole, this.#note);
  }

  show(tensor: TensorSession | undefined): void {
    this.#tensor = tensor;
    this.#built = '';
    this.#take();
  }

  /** Controls take what the view says. */
  #take(): void {
    const { knobs } = this.#store.view;
    if (JSON.stringify(this.#knobs()) !== JSON.stringify(knobs) || this.#built === '') {
      try {
        const { choice, group } = choiceOf(knobs.format);
        Object.assign(this.#values, sparsityOf(knobs.pattern), {
          format: choice,
          rank: knobs.rank,
          packed: knobs.packed ?? false,
          method: knobs.method ?? '',
        });
        if (group !== undefined) this.#values.group = group;
      } catch {
        // A link's format that there is not: compressing says so.
      }
    }
    this.#build();
  }

  #knobs(): Knobs {
    const { format, group, method, rank, packed, kind } = this.#values;
    const name = formatOf(format, choiceOf(formatOf(format, 64)).group === undefined ? undefined : group);
    const methods: readonly string[] = methodChoices(name);
    return {
      format: name,
      ...(methods.includes(method) && { method: method as Knobs['method'] }),
      pattern: patternText(this.#values, this.#tensor?.rows ?? 1, this.#tensor?.k ?? 1),
      ...(packed && kind === 'n:m' && { packed }),
      rank,
    };
  }

  #changed(): void {
    const knobs = this.#knobs();
    // Controls also tell of what they were given.
    if (JSON.stringify(knobs) !== JSON.stringify(this.#store.view.knobs)) this.#store.set({ knobs });
  }

  /** Makes the controls that go with the choices; the one in hand stays while only its own value changes. */
  #build(): void {
    // Not while a control tells of its change: it may be one of those that go.
    clearTimeout(this.#building);
    this.#building = setTimeout(() => this.#buildNow());
  }

  #buildNow(): void {
    const values = this.#values;
    const tensor = this.#tensor;
    this.#whole.hidden = this.#note.hidden = !tensor;
    const key = [values.format, values.kind, tensor?.entry.name].join('|');
    if (!tensor) {
      this.#pane?.dispose();
      this.#pane = undefined;
      return;
    }
    if (key === this.#built && this.#pane) {
      this.#pane.refresh();
      labelPane(this.#pane);
      return;
    }
    const focused = document.activeElement?.getAttribute('aria-label');
    this.#built = key;
    this.#pane?.dispose();
    const pane = new Pane({ container: this.#controls });
    this.#pane = pane;
    const on = (binding: BindingApi) => binding.on('change', () => this.#changed());
    const list = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, name]));
    const quantization = pane.addFolder({ title: 'Quantization' });
    on(quantization.addBinding(values, 'format', { options: list(formatChoices()) }));
    const grouped = choiceOf(formatOf(values.format, 64)).group !== undefined;
    if (grouped) {
      const options = Object.fromEntries(
        groupChoices(tensor.k).map((group) => [group === 'row' ? 'a row' : `${group} weights`, group]),
      );
      on(quantization.addBinding(values, 'group', { options }));
    }
    const methods = methodChoices(formatOf(values.format, grouped ? values.group : undefined));
    if (methods.length > 0) {
      on(quantization.addBinding(values, 'method', { options: { 'the default': '', ...list(methods) } }));
    }
    const sparsity = pane.addFolder({ title: 'Sparsity' });
    on(sparsity.addBinding(values, 'kind', { label: 'pattern', options: KINDS }));
    if (values.kind === 'n:m') {
      on(sparsity.addBinding(values, 'keep', { label: 'kept N', min: 1, max: 15, step: 1 }));
      on(sparsity.addBinding(values, 'of', { label: 'of M', min: 2, max: 16, step: 1 }));
      on(sparsity.addBinding(values, 'shared', { label: 'rows alike', min: 1, max: 16, step: 1 }));
      on(sparsity.addBinding(values, 'packed', { label: 'packed' }));
    } else if (values.kind !== 'none') {
      on(sparsity.addBinding(values, 'share', { label: 'gone, %', min: 1, max: 99, step: 1 }));
    }
    if (values.kind === 'weights')
      on(
        sparsity.addBinding(values, 'scope', {
          label: 'least of',
          options: { 'the tensor': 'layer', 'each row': 'row' },
        }),
      );
    if (values.kind === 'blocks') {
      on(sparsity.addBinding(values, 'high', { label: 'block rows', min: 1, max: Math.min(64, tensor.rows), step: 1 }));
      on(sparsity.addBinding(values, 'wide', { label: 'block columns', min: 1, max: Math.min(64, tensor.k), step: 1 }));
    }
    const side = Math.min(tensor.rows, tensor.k);
    if (side > 1) {
      const lowRank = pane.addFolder({ title: 'Low rank' });
      on(lowRank.addBinding(values, 'rank', { label: 'rank (0: all)', min: 0, max: side - 1, step: 1 }));
    }
    labelPane(pane);
    if (focused)
      [...pane.element.querySelectorAll<HTMLElement>('[aria-label]')]
        .find((one) => one.getAttribute('aria-label') === focused)
        ?.focus();
  }
}

const KINDS = {
  none: 'none',
  'N of M in a row': 'n:m',
  'single weights': 'weights',
  blocks: 'blocks',
  'whole columns': 'columns',
  'whole rows': 'rows',
} as const;
