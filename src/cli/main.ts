#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { registerCalibrate } from './calibrate.ts';
import { registerCompress } from './compress.ts';
import { registerDevice } from './device.ts';
import { EXIT, EXIT_HELP, reportError } from './exit-codes.ts';
import { registerFactorize } from './factorize.ts';
import { usesGpu } from './gpu-options.ts';
import { registerInspect } from './inspect.ts';
import { interruptSignal, listenForInterrupts } from './interrupt.ts';
import { registerLora } from './lora.ts';
import { write } from './output.ts';
import { registerPrune } from './prune.ts';
import { registerRun } from './run.ts';
import { rerunOnSoftwareVulkan } from './software-vulkan.ts';
import { registerSvd } from './svd.ts';
import { registerVerify } from './verify.ts';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

/** Help and version: Commander does not wait for what it writes. */
let help: Promise<unknown> = Promise.resolve();

const program = new Command('compressa')
  .description('Compress neural networks on the GPU, and prove what it bought and what it cost.')
  .version(version)
  // Before the commands, which inherit it: errors are thrown, so that the exit codes are ours.
  .exitOverride()
  .configureOutput({
    writeOut: (text) => {
      help = write(text);
      // It is awaited when Commander has thrown.
      help.catch(() => undefined);
    },
  })
  .showSuggestionAfterError()
  .addHelpText('after', EXIT_HELP);
registerCompress(program);
registerPrune(program);
registerFactorize(program);
registerCalibrate(program);
registerInspect(program);
registerVerify(program);
registerDevice(program);
registerRun(program);
registerSvd(program);
registerLora(program);

/** The exit code of the child that did the work instead, on a machine without Vulkan. */
class DoneElsewhere {
  readonly code: number;
  constructor(code: number) {
    this.code = code;
  }
}

program.hook('preAction', async (_, command) => {
  const code = usesGpu(command) ? await rerunOnSoftwareVulkan() : undefined;
  if (code !== undefined) throw new DoneElsewhere(code);
  listenForInterrupts();
});

try {
  await program.parseAsync();
  process.exitCode ??= EXIT.ok;
} catch (error) {
  const report = (what: unknown) => reportError(what, interruptSignal);
  process.exitCode = error instanceof DoneElsewhere ? error.code : await help.then(() => report(error), report);
}
