// What Node asks when a `.wgsl` file is imported: `wgsl-register.ts` puts it in place.
import type { LoadHook } from 'node:module';
import { fileURLToPath } from 'node:url';
import { wgsl } from './wgsl-plugin.ts';

const plugin = wgsl();

export const load: LoadHook = async (url, context, next) => {
  const made = url.startsWith('file:') ? plugin.load(fileURLToPath(url.split('?')[0]!)) : null;
  return made ? { format: 'module', source: made.code, shortCircuit: true } : next(url, context);
};
