import { createHash } from 'node:crypto';
import type { Plugin } from 'vite';

/** Tells the service worker which files the page consists of, and a version that changes with them. */
export function offline(): Plugin {
  return {
    name: 'compressa-offline',
    generateBundle(_, bundle) {
      const worker = bundle['service-worker.js'];
      if (worker?.type !== 'chunk') throw new Error('The build has no service worker.');
      const files = Object.keys(bundle).filter((file) => file !== worker.fileName);
      const hash = createHash('sha256');
      for (const file of files.sort()) {
        const output = bundle[file]!;
        hash.update(file).update(output.type === 'chunk' ? output.code : output.source);
      }
      const version = hash.digest('hex').slice(0, 12);
      worker.code = worker.code
        .replace('__FILES__', JSON.stringify(['./', ...files.filter((file) => file !== 'index.html')]))
        .replace('__VERSION__', JSON.stringify(version));
    },
  };
}
