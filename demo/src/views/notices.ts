import { CancelledError, CompressaError, OutOfMemoryError } from '../../../src/index.ts';
import { byId, make } from '../dom.ts';

/** What the page says of an error: the engine's messages already say what to do. */
export function explain(error: unknown): string {
  if (error instanceof OutOfMemoryError) {
    // The engine's advice is for programs.
    const what = error.message.replace(/ (Raise it|Use a smaller).*$/s, '');
    return `Not enough GPU memory. ${what} Choose a smaller tensor or model, or close what else uses the GPU.`;
  }
  if (error instanceof CompressaError) return error.message;
  const message = error instanceof Error ? error.message : String(error);
  return `Something went wrong in the page: ${message}. Reload it, and report this if it happens again.`;
}

/** Whether an error only says that newer work took the place of this. */
export const isCancelled = (error: unknown): boolean =>
  error instanceof CancelledError || (error instanceof DOMException && error.name === 'AbortError');

/** Says something in words, until it is closed or `clear` is called with the same key. */
export function say(key: string, text: string, kind: 'error' | 'info' = 'error'): void {
  clear(key);
  const close = make('button', { type: 'button', 'aria-label': 'Close this message', onclick: () => clear(key) }, '×');
  byId('notices').append(make('div', { class: `notice ${kind}`, 'data-key': key }, make('p', {}, text), close));
}

export function clear(key: string): void {
  for (const notice of byId('notices').querySelectorAll<HTMLElement>('.notice'))
    if (notice.dataset.key === key) notice.remove();
}

/** Shows how far something is; 1 hides the bar. */
export function progress(share: number, what: string): void {
  const box = byId('progress');
  box.hidden = share >= 1;
  byId('progress-bar', HTMLProgressElement).value = share;
  byId('progress-text').textContent = what;
}
