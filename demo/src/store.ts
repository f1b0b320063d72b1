import { decodeView, encodeView, type ViewState } from './view-state.ts';

type Listener = (view: ViewState, before: ViewState) => void;

/** What the page shows, in one place; the address follows. */
export class Store {
  #view: ViewState;
  readonly #listeners = new Set<Listener>();
  #writing: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    this.#view = decodeView(location.hash);
    addEventListener('hashchange', () => {
      if (location.hash !== encodeView(this.#view)) this.#change(decodeView(location.hash));
    });
  }

  get view(): ViewState {
    return this.#view;
  }

  set(part: Partial<ViewState>): void {
    this.#change({ ...this.#view, ...part });
    // Browsers bound how often an address may change.
    this.#writing ??= setTimeout(() => {
      this.#writing = undefined;
      history.replaceState(null, '', this.link());
    }, 400);
  }

  /** The address that brings back this view. */
  link(): string {
    return location.pathname + location.search + encodeView(this.#view);
  }

  /** Calls `listener` when one of these parts changes. */
  on(names: readonly (keyof ViewState)[], listener: Listener): () => void {
    const own: Listener = (view, before) => {
      if (names.some((name) => view[name] !== before[name])) listener(view, before);
    };
    this.#listeners.add(own);
    return () => this.#listeners.delete(own);
  }

  #change(view: ViewState): void {
    const before = this.#view;
    this.#view = view;
    for (const listener of this.#listeners) listener(view, before);
  }
}
