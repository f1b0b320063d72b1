// The peers of a page: the packages of `npm run peers`, served as they are.
import { createReadStream, existsSync } from 'node:fs';
import { extname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Plugin } from 'vite';
import type { AbsentPeer } from '../suite/results-schema.ts';
import { PEER_SCRIPTS, type PeerName } from './scripts.ts';

const MODULES = fileURLToPath(new URL('../peers/node_modules', import.meta.url));
const TYPES: Record<string, string> = {
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
};

/** Puts the packages under `/peers/`. */
export const servePeers = (): Plugin => ({
  name: 'peers',
  configurePreviewServer(server) {
    server.middlewares.use('/peers/', (request, response, next) => {
      const file = join(MODULES, new URL(request.url!, 'http://localhost').pathname);
      const type = TYPES[extname(file)];
      if (!type || !file.startsWith(MODULES + sep) || !existsSync(file)) return next();
      response.setHeader('content-type', type);
      createReadStream(file).pipe(response);
    });
  },
});

/** Which peers of a page are installed, and what to do about the others. */
export function installedPeers(modules = MODULES): { present: PeerName[]; absent: AbsentPeer[] } {
  const present: PeerName[] = [];
  const absent: AbsentPeer[] = [];
  for (const [name, scripts] of Object.entries(PEER_SCRIPTS) as [PeerName, readonly string[]][]) {
    const missing = scripts.find((path) => !existsSync(join(modules, path)));
    if (missing === undefined) present.push(name);
    else absent.push({ name, reason: `not installed (${missing} is missing): npm run peers` });
  }
  return { present, absent };
}
