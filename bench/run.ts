// The benchmark suite: npm run bench -- --help
import { runInBrowser } from './browser/run-in-browser.ts';
import { onnxContestants } from './onnx-contestants.ts';
import { packBench } from './pack.ts';
import { runProgram } from './program.ts';

/** Those of `npm run peers`. */
const onnx = onnxContestants();
await runProgram({ peers: typeof onnx === 'string' ? [] : onnx, runInBrowser, packBench });
