import type { Pane } from 'tweakpane';

/** Gives the controls of a pane the names and roles that screen readers need: the library draws them, but does not say them. */
export function labelPane(pane: Pane): void {
  for (const row of pane.element.querySelectorAll('.tp-lblv')) {
    const name = row.querySelector('.tp-lblv_l')?.textContent ?? '';
    for (const control of row.querySelectorAll('input, select')) control.setAttribute('aria-label', name);
    const slider = row.querySelector<HTMLElement>('.tp-sldv_t');
    const input = row.querySelector('input');
    if (!slider || !input) continue;
    slider.setAttribute('role', 'slider');
    slider.setAttribute('aria-label', `${name}, slider`);
    const say = () => slider.setAttribute('aria-valuenow', input.value);
    say();
    if (slider.dataset.labelled) continue;
    slider.dataset.labelled = 'yes';
    new MutationObserver(say).observe(slider, { attributes: true, subtree: true, attributeFilter: ['style'] });
  }
  for (const title of pane.element.querySelectorAll('.tp-fldv_b')) {
    const folder = title.parentElement!;
    const say = () => title.setAttribute('aria-expanded', String(folder.classList.contains('tp-fldv-expanded')));
    say();
    title.addEventListener('click', () => setTimeout(say));
  }
}
