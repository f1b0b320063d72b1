// The process of `llamaDeviceOf`: prints what llama.cpp calls the Vulkan device that it may see, or nothing.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const { getLlama } = await import(pathToFileURL(createRequire(import.meta.url).resolve('node-llama-cpp')).href);
const llama = await getLlama({ build: 'never', gpu: 'vulkan', logLevel: 'disabled' });
const [name] = await llama.getGpuDeviceNames();
await llama.dispose();
console.log(name ?? '');
