import { defineConfig } from 'vitest/config';
import { wgsl } from './tools/wgsl-plugin.ts';

export default defineConfig({
  plugins: [wgsl()],
  test: {
    reporters: ['default', './tools/summary-reporter.ts'],
    include: ['test/**/*.test.ts'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    pool: 'forks',
    maxWorkers: 2,
  },
});
