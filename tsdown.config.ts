import { defineConfig } from 'tsdown';
import { wgsl } from './tools/wgsl-plugin.ts';

export default defineConfig([
  {
    entry: {
      index: 'src/index.ts',
      'node-index': 'src/node-index.ts',
      'report-page': 'src/report/html.ts',
      'low-rank': 'src/low-rank.ts',
      sparse: 'src/sparse.ts',
    },
    platform: 'neutral',
    target: 'es2023',
    dts: true,
    // A module a file: a page that bundles them loads what it imports, and what is imported on demand when it is.
    unbundle: true,
    // Bundling drops the directive from the sources; without it, a strict project does not know GPUDevice.
    banner: { dts: '/// <reference types="@webgpu/types" />' },
    clean: ['dist/**/*.js', 'dist/**/*.d.ts', '!dist/cli/**'],
    deps: { neverBundle: [/^node:/] },
    outExtensions: () => ({ js: '.js', dts: '.d.ts' }),
    plugins: [wgsl()],
  },
  {
    entry: { 'cli/main': 'src/cli/main.ts' },
    platform: 'node',
    target: 'node20.19',
    dts: false,
    clean: ['dist/cli'],
    outExtensions: () => ({ js: '.js' }),
    plugins: [wgsl()],
  },
]);
