import { formats, parseRecipe, presetRecipe, type Recipe } from '../../../src/index.ts';
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
    const preset = make(
      'select',
      {},
      make('option', { value: '' }, 'choose…'),
      ...formats.filter(({ kind }) => kind === 'block').map(({ name }) => make('option', { value: name }, name)),
    );
    preset.addEventListener('change', () => {
      if (preset.value) this.#set(presetRecipe(preset.value));
      preset.value = '';
    });
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
        make('label', {}, 'all linear matrices to ', preset),
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
