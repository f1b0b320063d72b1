import { App } from './app.ts';
import { byId } from './dom.ts';
import { type ChosenFile, droppedInput, filesOf, pickedFiles } from './engine/model-source.ts';
import { sampleInput } from './engine/sample-model.ts';
import { Store } from './store.ts';
import { explain, progress, say } from './views/notices.ts';

declare global {
  interface Window {
    /** The page's own state, for tests and for people with a console. */
    compressa?: App;
  }
}

/** Says what to do where the page can't work. */
function showUnsupported(reason: string): void {
  document.body.classList.add('unsupported');
  byId('unsupported').hidden = false;
  byId('unsupported-reason').textContent = reason;
  byId('page').hidden = true;
  progress(1, '');
}

function listenToFiles(app: App): void {
  const take = (files: readonly ChosenFile[]) => {
    try {
      void app.open(droppedInput(files));
    } catch (error) {
      say('model', explain(error));
    }
  };
  const picker = byId('files', HTMLInputElement);
  byId('open').addEventListener('click', () => picker.click());
  byId('sample').addEventListener('click', () => void app.open(sampleInput()));
  picker.addEventListener('change', () => {
    take(pickedFiles(picker.files ?? []));
    picker.value = '';
  });
  const over = (on: boolean) => document.body.classList.toggle('dropping', on);
  addEventListener('dragover', (event) => {
    event.preventDefault();
    over(true);
  });
  addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) over(false);
  });
  addEventListener('drop', (event) => {
    event.preventDefault();
    over(false);
    if (event.dataTransfer)
      void filesOf(event.dataTransfer).then(take, (error: unknown) => say('model', explain(error)));
  });
}

function listenToLink(store: Store): void {
  byId('copy-link').addEventListener('click', async () => {
    const link = new URL(store.link(), location.href).href;
    history.replaceState(null, '', link);
    try {
      await navigator.clipboard.writeText(link);
      say(
        'link',
        'The link is copied: it brings back this view and recipe, and the sample model or whatever model its reader opens.',
        'info',
      );
    } catch {
      say('link', `Copy this link: ${link}`, 'info');
    }
  });
}

async function start(): Promise<void> {
  if (!navigator.gpu) {
    return showUnsupported(
      isSecureContext
        ? 'This browser has no WebGPU, or has it switched off.'
        : 'This page came over a connection that is not secure (plain http), where browsers switch WebGPU off.',
    );
  }
  const store = new Store();
  const app = new App(store);
  window.compressa = app;
  listenToFiles(app);
  listenToLink(store);
  try {
    await app.start();
  } catch (error) {
    showUnsupported(explain(error));
  }
  // Last: it asks for all files of the page.
  if (__BUILT__ && 'serviceWorker' in navigator) {
    await navigator.serviceWorker.register('./service-worker.js').catch(() => undefined);
  }
}

void start();
