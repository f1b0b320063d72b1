import { readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { FileError, OutOfMemoryError } from '../../src/errors.ts';
import { openCheckpoint } from '../../src/files/checkpoint.ts';
import { httpFolder, type ModelFiles } from '../../src/files/model-files.ts';
import { nodeFolder } from '../../src/files/node-files.ts';
import { nodeOutput } from '../../src/files/node-output.ts';
import type { OutputFolder } from '../../src/files/sink.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { openGpu } from '../../src/gpu/open-gpu.ts';
import { openModel } from '../../src/model.ts';
import { compress } from '../../src/passes/compress.ts';
import { verify } from '../../src/verify/verify.ts';
import { doom, outcomeOf, seeded } from './doomed-gpu.ts';
import { openTestGpu } from './open-test-gpu.ts';

const SAMPLE = 'models/union-7m';
const data = readFileSync(`${SAMPLE}/validation.tokens.u16`);
const tokens = new Uint16Array(data.buffer, data.byteOffset, data.byteLength / 2);
const MOMENTS = 4;
/** Milliseconds after which work that has not ended hangs. */
const HUNG = 60_000;

let gpu: Gpu;
let folder: string;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'compressa-faults-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const output = () => nodeOutput(join(folder, 'out'));

describe('a device that is lost', () => {
  const works: Record<string, (on: Gpu) => Promise<unknown>> = {
    compress: async (on) => compress(await nodeFolder(SAMPLE), await output(), { gpu: on, format: 'q4_0' }),
    run: async (on) => {
      const model = await openModel(await nodeFolder(SAMPLE), { gpu: on, maxPositions: 32 });
      try {
        const run = model.generate('My fellow citizens', { maxTokens: 6 });
        while (!(await run.next()).done);
      } finally {
        await model.close();
      }
    },
    verify: async (on) => {
      const original = await openCheckpoint(await nodeFolder(SAMPLE));
      try {
        await verify(original, original, { gpu: on, tokens, window: 16, windows: 1, speed: false });
      } finally {
        await original.close();
      }
    },
  };

  test.each(Object.keys(works))(
    'at any moment of %s ends it with the named error, and a fresh one works',
    async (name) => {
      const work = works[name]!;
      const sound = await openTestGpu();
      const calls = doom(sound);
      expect(await outcomeOf(work(sound), HUNG)).toBe('done');
      sound.close();
      await rm(join(folder, 'out'), { recursive: true, force: true });
      const random = seeded(7);
      for (let i = 0; i < MOMENTS; i++) {
        // Not at the very end, where nothing may be left to fail.
        const moment = Math.floor(((i + random()) / MOMENTS) * 0.95 * calls());
        const after = random() < 0.5;
        const doomed = await openTestGpu();
        doom(doomed, moment, after);
        const where = `${after ? 'after' : 'before'} call ${moment} of ${calls()}`;
        expect(await outcomeOf(work(doomed), HUNG), where).toBe('DeviceLostError');
        doomed.close();
        expect(await readdir(folder), where).toEqual([]);
        const fresh = await openTestGpu();
        expect(fresh.selfTest, where).toBeDefined();
        fresh.close();
      }
    },
  );
});

/** Files whose reads fail from number `moment` on, and how many reads and open files there are. */
function failing(files: ModelFiles, moment = Number.POSITIVE_INFINITY) {
  const counts = { reads: 0, open: 0 };
  const wrapped: ModelFiles = {
    ...files,
    async open(name) {
      const source = await files.open(name);
      counts.open++;
      return {
        ...source,
        async read(...range) {
          if (counts.reads++ >= moment) throw new FileError(`${source.name}: the disk is gone. Try another.`);
          return source.read(...range);
        },
        async close() {
          counts.open--;
          await source.close();
        },
      };
    },
  };
  return { files: wrapped, counts };
}

test('a file that can no longer be read ends each work with its error, and leaves nothing', async () => {
  const sample = await nodeFolder(SAMPLE);
  const compressing = async (files: ModelFiles) => compress(files, await output(), { gpu, format: 'q4_0' });
  const running = async (files: ModelFiles) => (await openModel(files, { gpu, maxPositions: 32 })).close();
  const random = seeded(11);
  for (const work of [compressing, running]) {
    const sound = failing(sample);
    await work(sound.files);
    await rm(join(folder, 'out'), { recursive: true, force: true });
    expect(sound.counts.open).toBe(0);
    const before = gpu.memory.bytesInUse;
    for (let i = 0; i < 6; i++) {
      const { files, counts } = failing(sample, Math.floor(((i + random()) / 6) * sound.counts.reads));
      await expect(work(files)).rejects.toThrow(/the disk is gone/);
      expect(counts.open).toBe(0);
      expect(gpu.memory.bytesInUse).toBe(before);
      expect(await readdir(folder)).toEqual([]);
    }
  }
});

describe('a server', () => {
  let server: Server;
  let base: string;
  /** Bytes that it still sends before it drops every connection for good. */
  let left: number;
  let asked: number;
  beforeAll(async () => {
    const weights = readFileSync(`${SAMPLE}/model.safetensors`);
    server = createServer((request, response) => {
      asked++;
      if (left <= 0) return void request.socket.destroy();
      const name = decodeURIComponent(request.url!.slice(1));
      if (!/^(model\.safetensors|config\.json|tokenizer\.json)$/.test(name)) return void response.writeHead(404).end();
      const content = name === 'model.safetensors' ? weights : readFileSync(`${SAMPLE}/${name}`);
      const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '')!.map(Number);
      const part = content.subarray(first, last! + 1);
      left -= part.byteLength;
      response.writeHead(206, {
        'content-range': `bytes ${first}-${first! + part.byteLength - 1}/${content.byteLength}`,
        'content-length': String(part.byteLength),
      });
      if (left > 0) return void response.end(part);
      response.write(part.subarray(0, Math.floor(part.byteLength / 2)), () => request.socket.destroy());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });
  const run = async () =>
    compress(httpFolder(base, { retries: 3, retryDelay: 1 }), await output(), { gpu, format: 'q4_0' });

  test('that dies in the middle ends the work with an error that names the file, soon, and leaves nothing', async () => {
    const whole = 100e6;
    left = whole;
    asked = 0;
    await run();
    const sent = whole - left;
    const questions = asked;
    await rm(join(folder, 'out'), { recursive: true });
    const random = seeded(3);
    for (let i = 0; i < 4; i++) {
      left = 1 + Math.floor(((i + random()) / 4) * sent);
      asked = 0;
      const started = performance.now();
      const failure = await run().catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(FileError);
      expect((failure as Error).message).toMatch(
        /^http:\/\/127\.0\.0\.1:\d+\/[\w.]+: (the request failed|the connection broke)/,
      );
      expect(performance.now() - started).toBeLessThan(10_000);
      // One chunk may be on its way while another fails: each with its own retries.
      expect(asked).toBeLessThan(questions + 2 * 4);
      expect(await readdir(folder)).toEqual([]);
    }
  });
});

test('a disk that fills up ends a compression with an error that says so, and leaves nothing', async () => {
  const full = async (room: number): Promise<OutputFolder> => {
    const real = await output();
    return {
      ...real,
      async file(name) {
        const sink = await real.file(name);
        return {
          ...sink,
          async write(bytes) {
            room -= bytes.byteLength;
            if (room < 0)
              throw new FileError(`${sink.name}: the disk is full. Free some space or choose another target.`);
            await sink.write(bytes);
          },
        };
      },
    };
  };
  const before = gpu.memory.bytesInUse;
  for (const room of [0, 1000, 1e6, 5e6]) {
    const run = compress(await nodeFolder(SAMPLE), await full(room), { gpu, format: 'q4_0' });
    await expect(run).rejects.toThrow(/model\.safetensors: the disk is full/);
    expect(await readdir(folder)).toEqual([]);
    expect(gpu.memory.bytesInUse).toBe(before);
  }
});

test('too little memory of the GPU is said, with what to do, and all of it is given back', async () => {
  const advice = /: .* needs \d+ bytes more than the \d+ in use; the budget is \d+ bytes\. Raise it/;
  const tiny = await openGpu({ memoryBudget: 1000 });
  const run = compress(await nodeFolder(SAMPLE), await output(), { gpu: tiny, format: 'q4_0' });
  await expect(run).rejects.toThrow(OutOfMemoryError);
  await expect(run).rejects.toThrow(/budget/);
  expect(await readdir(folder)).toEqual([]);
  tiny.close();
  // At the first weight, and with some of them there.
  for (const memoryBudget of [1e6, 5e6, 14e6]) {
    const small = await openGpu({ memoryBudget });
    const model = openModel(await nodeFolder(SAMPLE), { gpu: small, maxPositions: 1024 });
    await expect(model, String(memoryBudget)).rejects.toThrow(OutOfMemoryError);
    expect(String(await model.catch((error: unknown) => error))).toMatch(advice);
    expect(small.memory.bytesInUse).toBe(0);
    small.close();
  }
});
