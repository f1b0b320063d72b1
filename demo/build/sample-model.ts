import { createHash } from 'node:crypto';
import { cpSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Plugin, ResolvedConfig } from 'vite';
import { SAMPLE_FILES } from '../src/sample-files.ts';

const REPOSITORY = resolve(import.meta.dirname, '../..');
const SAMPLE = join(REPOSITORY, 'models/union-7m');

/** Another sample, or another version of it, is kept under another name. */
function sampleHash(): string {
  const hash = createHash('sha256');
  for (const file of SAMPLE_FILES) hash.update(readFileSync(join(SAMPLE, file)));
  return hash.digest('hex').slice(0, 12);
}

/** The sample model beside the page: where it is in development, copied by the build. `__SAMPLE_URL__` says where, relative to the page. */
export function sampleModel(): Plugin {
  let config: ResolvedConfig;
  return {
    name: 'compressa-sample-model',
    config: (_, { command }) => ({
      define: {
        __BUILT__: JSON.stringify(command === 'build'),
        __SAMPLE_CACHE__: JSON.stringify(`compressa-sample-${sampleHash()}`),
        __SAMPLE_URL__: JSON.stringify(command === 'serve' ? `/@fs/${SAMPLE.replace(/^\//, '')}/` : './model/'),
      },
      server: { fs: { allow: [REPOSITORY] } },
    }),
    configResolved(resolved) {
      config = resolved;
    },
    writeBundle() {
      for (const file of SAMPLE_FILES) cpSync(join(SAMPLE, file), join(config.build.outDir, 'model', file));
    },
  };
}
