export { nodeFolder, openPath } from './files/node-files.ts';
export { nodeOutput } from './files/node-output.ts';
export { nodeFileSink } from './files/node-sink.ts';
export { nodeTuningStore } from './files/node-tuning-store.ts';
export * from './index.ts';
