import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CancelledError, FileError } from '../../../src/errors.ts';
import { MAX_WHOLE_BODY_BYTES, urlSource } from '../../../src/files/http-source.ts';
import { httpFolder, memoryFolder } from '../../../src/files/model-files.ts';
import { nodeFolder, openPath } from '../../../src/files/node-files.ts';
import { type ByteSource, blobSource, memorySource } from '../../../src/files/source.ts';

const DATA = Uint8Array.from({ length: 1000 }, (_, i) => (i * 7) % 256);

let folder: string;
let server: Server;
let base: string;
let flaky = 0;
/** Waits no longer than it has to. */
const QUICK = { retries: 3, retryDelay: 1 };

/** Serves DATA in the way that the path names. */
function answer(request: IncomingMessage, response: ServerResponse): void {
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
  const [start, last] = [Number(range?.[1]), Number(range?.[2])];
  const part = DATA.subarray(start, last + 1);
  const headers = { 'content-range': `bytes ${start}-${last}/${DATA.length}` };
  switch (request.url) {
    case '/m/ranges.bin':
      return void response.writeHead(206, headers).end(part);
    case '/m/whole.bin':
      return void response.writeHead(200).end(DATA);
    case '/m/huge.bin':
      return void response.writeHead(200, { 'content-length': String(MAX_WHOLE_BODY_BYTES + 1) }).flushHeaders();
    case '/m/empty.bin':
      return void response.writeHead(416, { 'content-range': 'bytes */0' }).end();
    case '/m/nosize.bin':
      return void response.writeHead(206).end(part);
    case '/m/gzip.bin':
      return void response.writeHead(206, { ...headers, 'content-encoding': 'x-unknown' }).end(part);
    case '/m/short.bin':
      return void response.writeHead(206, headers).end(part.subarray(0, last === 1 ? 2 : 0));
    case '/m/flaky.bin': {
      // Breaks off after 300 bytes, or sends the client away, in turn.
      if (last === 1) return void response.writeHead(206, headers).end(part);
      if (flaky++ % 2 === 1) return void response.writeHead(503).end();
      const whole = { ...headers, 'content-length': String(part.length) };
      return void response.writeHead(206, whole).write(part.subarray(0, 300), () => {
        if (part.length > 300) response.destroy();
        else response.end();
      });
    }
    case '/m/dying.bin':
      if (last === 1) return void response.writeHead(206, headers).end(part);
      return void response
        .writeHead(206, { ...headers, 'content-length': '100' })
        .write(part.subarray(0, 1), () => response.destroy());
    case '/m/silent.bin':
      // Takes the question, and no more.
      return;
    case '/m/stalling.bin':
      if (last === 1) return void response.writeHead(206, headers).end(part);
      return void response.writeHead(206, { ...headers, 'content-length': '100' }).write(part.subarray(0, 1));
    case '/m/long.bin':
      return void response.writeHead(206, headers).end(start === 0 && last === 1 ? part : DATA);
    case '/m/changing.bin':
      return void response.writeHead(206, { ...headers, etag: `"${start}"` }).end(part);
    case '/m/stubborn.bin':
      // Ranges for the first bytes only.
      return void (last === 1 ? response.writeHead(206, headers).end(part) : response.writeHead(200).end(DATA));
    case '/m/falsy.bin': {
      // Takes a last byte 0 for none named.
      const end = Math.min(last || DATA.length - 1, DATA.length - 1);
      const named = { 'content-range': `bytes ${start}-${end}/${DATA.length}` };
      return void response.writeHead(206, named).end(DATA.subarray(start, end + 1));
    }
    case '/m/one.bin':
      return void response.writeHead(206, { 'content-range': 'bytes 0-0/1' }).end(DATA.subarray(0, 1));
    case '/m/page.json':
      return void response.writeHead(200, { 'content-type': 'text/html' }).end('<html>');
    case '/m/broken.bin':
      return void response.writeHead(500).end();
    case '/m/a%20b.bin':
      return void response.writeHead(206, headers).end(part);
    default:
      return void response.writeHead(404).end();
  }
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'compressa-source-'));
  await writeFile(join(folder, 'data.bin'), DATA);
  server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/m/`;
});
afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true, force: true });
});

const OPENERS: [string, () => Promise<ByteSource>][] = [
  ['memory', async () => memorySource('data', DATA)],
  ['an ArrayBuffer', async () => memorySource('data', DATA.slice().buffer)],
  ['a view into a larger buffer', async () => memorySource('data', new Uint8Array([9, ...DATA, 9]).subarray(1, 1001))],
  ['a blob', async () => blobSource('data', new Blob([DATA]))],
  ['a file', async () => openPath(join(folder, 'data.bin'))],
  ['a URL with ranges', async () => urlSource(`${base}ranges.bin`)],
  ['a URL with ranges that end after byte 0', async () => urlSource(`${base}falsy.bin`)],
  ['a URL without ranges', async () => urlSource(`${base}whole.bin`)],
];

describe.each(OPENERS)('%s', (_, open) => {
  test('gives exactly the bytes asked for', async () => {
    const source = await open();
    expect(source.size).toBe(1000);
    for (const [offset, length] of [
      [0, 1000],
      [1, 1],
      [999, 1],
      [500, 13],
      [1000, 0],
      [3, 0],
    ] as const) {
      expect(await source.read(offset, length)).toEqual(DATA.slice(offset, offset + length));
    }
    await source.close();
  });

  test('its bytes belong to the caller', async () => {
    const source = await open();
    (await source.read(0, 10)).fill(0);
    expect(await source.read(0, 10)).toEqual(DATA.slice(0, 10));
    await source.close();
  });

  test.each([
    [1001, 0],
    [0, 1001],
    [-1, 1],
    [0, -1],
    [999, 2],
    [0.5, 1],
    [Number.NaN, 1],
    [2 ** 53, 1],
    [0, Infinity],
  ])('refuses %d +%d', async (offset, length) => {
    const source = await open();
    await expect(source.read(offset, length)).rejects.toThrow(/outside the file of 1000 bytes/);
    await source.close();
  });

  test('heeds a signal', async () => {
    const source = await open();
    await expect(source.read(0, 10, AbortSignal.abort())).rejects.toThrow(CancelledError);
    await source.close();
  });
});

describe('files on disk', () => {
  test('a file that shrinks is a short read', async () => {
    const path = join(folder, 'shrinking.bin');
    await writeFile(path, DATA);
    const source = await openPath(path);
    await truncate(path, 100);
    await expect(source.read(50, 100)).rejects.toThrow(/shrinking\.bin: 50 of 100 bytes came from offset 50/);
    await source.close();
  });

  test('missing files, folders and pipes are refused by name', async () => {
    await expect(openPath(join(folder, 'none'))).rejects.toThrow(/none: it does not exist/);
    await expect(openPath(folder)).rejects.toThrow(/not a regular file/);
    if (process.platform === 'linux') {
      execFileSync('mkfifo', [join(folder, 'pipe')]);
      await expect(openPath(join(folder, 'pipe'))).rejects.toThrow(/not a regular file/);
    }
  });

  test('a folder gives its files and no others', async () => {
    const files = await nodeFolder(folder);
    expect(await files.has('data.bin')).toBe(true);
    expect(await files.has('config.json')).toBe(false);
    const source = await files.open('data.bin');
    expect(source.size).toBe(1000);
    await source.close();
    await expect(files.open('../etc')).rejects.toThrow(/not the plain name/);
    await expect(files.has('/etc/passwd')).rejects.toThrow(/not the plain name/);
    await expect(nodeFolder(join(folder, 'data.bin'))).rejects.toThrow(/it is no folder/);
    await expect(nodeFolder(join(folder, 'none'))).rejects.toThrow(/does not exist/);
  });
});

describe('files over HTTP', () => {
  test.each([
    ['huge.bin', /ignores Range requests/],
    ['nosize.bin', /does not tell the file's size/],
    ['gzip.bin', /does not tell the file's size/],
    ['broken.bin', /answered 500/],
    ['none.bin', /answered 404/],
  ])('%s is refused at opening', async (name, message) => {
    const failure = urlSource(base + name, QUICK);
    await expect(failure).rejects.toThrow(FileError);
    await expect(failure).rejects.toThrow(message);
    await expect(failure).rejects.toThrow(name);
  });

  test.each([
    ['short.bin', /0 of 100 bytes/],
    ['dying.bin', /connection broke after \d bytes/],
    ['long.bin', /of 100 bytes came/],
    ['changing.bin', /changed while it was being read/],
    ['stubborn.bin', /changed while it was being read/],
  ])('%s is refused at reading', async (name, message) => {
    const source = await urlSource(base + name, QUICK);
    await expect(source.read(10, 100)).rejects.toThrow(message);
  });

  test('goes on where a connection broke, and waits for a server that is busy', async () => {
    const received: number[] = [];
    const ranges: string[] = [];
    const source = await urlSource(`${base}flaky.bin`, {
      retries: 10,
      retryDelay: 1,
      onBytes: (count) => received.push(count),
      fetch: (url, init) => {
        ranges.push(new Headers(init?.headers).get('range')!);
        return fetch(url, init);
      },
    });
    expect(await source.read(100, 800)).toEqual(DATA.slice(100, 900));
    expect(received.at(-1)).toBe(800);
    // Whatever had arrived was not asked for again.
    const starts = ranges.slice(1).map((range) => Number(/=(\d+)-899$/.exec(range)![1]));
    expect(starts[0]).toBe(100);
    expect(starts).toEqual([...starts].sort((a, b) => a - b));
    expect(new Set(starts).size).toBeGreaterThan(2);
  });

  test('a cancelled read does not wait for its next try', async () => {
    const controller = new AbortController();
    const source = await urlSource(`${base}dying.bin`, { retries: 3, retryDelay: 600_000 });
    setTimeout(() => controller.abort(), 50);
    await expect(source.read(0, 100, controller.signal)).rejects.toThrow(CancelledError);
  });

  test('a server that falls silent is given up after its retries', async () => {
    const started = performance.now();
    let asked = 0;
    const patience = {
      ...QUICK,
      stallTimeout: 40,
      fetch: (url: string | URL | Request, init?: RequestInit) => {
        asked++;
        return fetch(url, init);
      },
    };
    const silent = urlSource(`${base}silent.bin`, patience);
    await expect(silent).rejects.toThrow(FileError);
    await expect(silent).rejects.toThrow(/silent\.bin: the request failed \(no answer came\)/);
    expect(asked).toBe(1 + QUICK.retries);
    const source = await urlSource(`${base}stalling.bin`, patience);
    await expect(source.read(0, 100)).rejects.toThrow(
      /stalling\.bin: the connection broke after 1 bytes \(no byte came/,
    );
    expect(asked).toBe(1 + 2 * (1 + QUICK.retries));
    expect(performance.now() - started).toBeLessThan(5000);
  });

  test('an empty file is one', async () => {
    expect((await urlSource(`${base}empty.bin`)).size).toBe(0);
  });

  test('a file of one byte is shorter than the first question', async () => {
    const source = await urlSource(`${base}one.bin`);
    expect(source.size).toBe(1);
    expect(await source.read(0, 1)).toEqual(DATA.slice(0, 1));
  });

  test('an unreachable server is a FileError', async () => {
    const failing = async (): Promise<Response> => {
      throw new TypeError('fetch failed');
    };
    await expect(urlSource('http://x.invalid/a', { ...QUICK, fetch: failing })).rejects.toThrow(
      /a: the request failed/,
    );
  });

  test('a folder under a URL, with or without its last slash', async () => {
    for (const url of [base, base.slice(0, -1)]) {
      const files = httpFolder(url, { retryDelay: 1 });
      expect(await files.has('ranges.bin')).toBe(true);
      expect(await files.has('none.bin')).toBe(false);
      // The page that development servers send in place of a missing file.
      expect(await files.has('page.json')).toBe(false);
      await expect(files.has('broken.bin')).rejects.toThrow(/500/);
      expect((await files.open('a b.bin')).size).toBe(1000);
      await expect(files.open('../ranges.bin')).rejects.toThrow(/not the plain name/);
    }
  });
});

test('a folder in memory names what it has', async () => {
  const files = memoryFolder('demo', { 'config.json': '{"a":1}', x: DATA });
  expect(await files.has('config.json')).toBe(true);
  expect(await files.has('toString')).toBe(false);
  const source = await files.open('config.json');
  expect(new TextDecoder().decode(await source.read(0, source.size))).toBe('{"a":1}');
  await expect(files.open('y')).rejects.toThrow(/demo: there is no file "y"; it has "config\.json", "x"/);
});
