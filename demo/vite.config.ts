import { resolve } from 'node:path';
import { defineConfig } from 'vite';
import { wgsl } from '../tools/wgsl-plugin.ts';
import { offline } from './build/offline.ts';
import { sampleModel } from './build/sample-model.ts';

const root = import.meta.dirname;

/** The page, for `vite` and `vite build`: addresses are relative, so that it works wherever its folder lies. */
export default defineConfig({
  root,
  base: './',
  publicDir: false,
  plugins: [wgsl(), sampleModel(), offline()],
  build: {
    outDir: resolve(root, '../out/demo'),
    emptyOutDir: true,
    target: 'es2023',
    chunkSizeWarningLimit: 1500,
    rolldownOptions: {
      input: { index: resolve(root, 'index.html'), 'service-worker': resolve(root, 'src/service-worker.ts') },
      output: { entryFileNames: ({ name }) => (name === 'service-worker' ? '[name].js' : 'assets/[name]-[hash].js') },
    },
  },
});
