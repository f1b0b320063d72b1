import { spawnSync } from 'node:child_process';
import { deviceNames } from '../../src/gpu/device-names.ts';
import type { Claim } from '../claim.ts';

/** `npm start` compresses and verifies the sample model in bearable time even without a GPU. Measure it on an idle machine. */
export const claim: Claim = {
  name: 'start time',
  async measure(gpu) {
    const swiftShader = /swiftshader/i.test(gpu.description.description);
    const minutes = swiftShader ? 8 : 3;
    const start = performance.now();
    // A machine that runs it for the first time has no compiled shaders.
    const { status } = spawnSync('npm', ['start'], {
      stdio: 'ignore',
      env: { ...process.env, MESA_SHADER_CACHE_DISABLE: '1' },
    });
    const seconds = (performance.now() - start) / 1000;
    return [
      {
        claim: `npm start on ${swiftShader ? 'SwiftShader' : deviceNames(gpu).name}`,
        threshold: `exit code 0, under ${minutes} minutes`,
        measured: `exit code ${status}, ${seconds.toFixed(0)} s`,
        pass: status === 0 && seconds < 60 * minutes,
      },
    ];
  },
};
