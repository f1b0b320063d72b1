// The benchmark suite: npm run bench -- --help
import { runInBrowser } from './browser/run-in-browser.ts';
import { openNodePeers } from './contestants/node-peers.ts';
import { packBench } from './pack.ts';
import { runProgram } from './program.ts';

await runProgram({ openPeers: openNodePeers, runInBrowser, packBench });
