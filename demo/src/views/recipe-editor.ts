import { formats, METHODS, type Method, parseRecipe, type Recipe } from '../../../src/index.ts';
import { SCORES, type Score } from '../../../src/passes/pruning/pruning.ts';
import { make } from '../dom.ts';
import { recipeOfKnobs } from '../engine/recipe-of-knobs.ts';
import type { Store } from '../store.ts';

/** A recipe as JSON that can be edited, with a complaint where it is none. */
export class RecipeEditor {
  readonly element: HTMLElement;
  readonly #store: Store;
  readonly #text = make('textarea', {
    id: 'recipe',
    rows: 9,
    spellcheck: 'false',
    'aria-describedby': 'recipe-problem',
  });
  readonly #problem = make('p', { id: 'recipe-problem', class: 'problem', role: 'status' });

  constructor(store: Store) {
    this.#store = store;
    const format = choice(['keep', ...formats.filter(({ kind }) => kind === 'block').map(({ name }) => name)], 'q4_0');
    const method = choice(['the default', ...METHODS]);
    const pattern = choice(['none', '2:4', '4:8', '50%', 'block:16x16:50%']);
    const score = choice(SCORES);
    const set = () => {
      const pruned = pattern.value !== 'none';
      score.disabled = !pruned;
      const prune = { pattern: pattern.value, score: score.value as Score };
      const rule = {
        ...{ match: '*', role: 'linear' as const, format: format.value },
        ...(method.value !== 'the default' && format.value !== 'keep' && { method: method.value as Method }),
        ...(pruned && { prune }),
      };
      this.#set({ version: 1, rules: [rule] });
    };
    for (const one of [format, method, pattern, score]) one.addEventListener('change', set);
    score.disabled = true;
    this.#text.addEventListener('input', () => this.#read());
    this.element = make(
      'div',
      { class: 'recipe' },
      make(
        'div',
        { class: 'tools' },
        make('label', { for: 'recipe' }, 'Recipe (JSON): the first rule that matches a tensor decides'),
        make('span', { class: 'grow' }),
        make(
          'button',
          { type: 'button', id: 'from-knobs', onclick: () => this.#set(recipeOfKnobs(store.view.knobs)) },
          'From the knobs',
        ),
      ),
      make(
        'div',
        { class: 'tools' },
        make('span', {}, 'All linear matrices:'),
        make('label', {}, 'format ', format),
        make('label', {}, 'method ', method),
        make('label', {}, 'pruned ', pattern),
        make('label', {}, 'by score ', score),
      ),
      make(
        'p',
        { class: 'soft' },
        'The methods gptq, awq and smoothquant and the scores wanda and obs look at what matrices are multiplied with: the model reads a text for them.',
      ),
      this.#text,
      this.#problem,
    );
    this.#show();
    store.on(['recipe'], () => this.#show());
  }

  /** Undefined where what is written is no recipe. */
  get recipe(): Recipe | undefined {
    return this.#read();
  }

  #set(recipe: Recipe): void {
    this.#text.value = JSON.stringify(recipe, undefined, 2);
    this.#read();
  }

  #show(): void {
    const { recipe, knobs } = this.#store.view;
    const shown = recipe ?? recipeOfKnobs(knobs);
    if (JSON.stringify(this.#parsed()) !== JSON.stringify(shown))
      this.#text.value = JSON.stringify(shown, undefined, 2);
  }

  #parsed(): unknown {
    try {
      return JSON.parse(this.#text.value);
    } catch {
      return undefined;
    }
  }

  #read(): Recipe | undefined {
    try {
      const recipe = parseRecipe(JSON.parse(this.#text.value));
      this.#problem.textContent = '';
      this.#text.removeAttribute('aria-invalid');
      if (JSON.stringify(recipe) !== JSON.stringify(this.#store.view.recipe)) this.#store.set({ recipe });
      return recipe;
    } catch (error) {
      this.#problem.textContent = error instanceof Error ? error.message : String(error);
      this.#text.setAttribute('aria-invalid', 'true');
      return undefined;
    }
  }
}

const choice = (names: readonly string[], first = names[0]): HTMLSelectElement =>
  make('select', {}, ...names.map((name) => make('option', { value: name, selected: name === first }, name)));
