import { rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { defineConfig } from 'vitest/config';
import { missingVulkan, swiftShaderEnvironment } from './src/cli/software-vulkan.ts';
import { wgsl } from './tools/wgsl-plugin.ts';

// Mesa keeps what it compiled, by driver and shader, where it always does: compiling takes most of the time of the tests, and `npm ci` empties node_modules.
process.env.MESA_SHADER_CACHE_DIR ??= process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
// What the tests find out about the device stays here, and no run knows what an earlier one found.
process.env.XDG_CACHE_HOME = resolve('node_modules/.cache');
rmSync('node_modules/.cache/compressa/tuning.json', { force: true });

// A fresh machine passes the tests too. The test processes inherit this; the loader reads it when they start.
const reason = missingVulkan();
if (reason) {
  console.error(`Notice: ${reason}; the tests use SwiftShader.`);
  Object.assign(process.env, await swiftShaderEnvironment());
}

export default defineConfig({
  plugins: [wgsl()],
  test: {
    reporters: ['default', './tools/summary-reporter.ts'],
    include: ['test/**/*.test.ts'],
    // They end what hangs; a slow machine is no failure.
    testTimeout: 600_000,
    hookTimeout: 600_000,
    pool: 'forks',
    maxWorkers: 2,
  },
});
