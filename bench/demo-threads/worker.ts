import { compressSample } from './compress-sample.ts';

addEventListener('message', async ({ data }: MessageEvent<string>) => {
  postMessage({ took: await compressSample(data, () => postMessage('begins')) });
});
