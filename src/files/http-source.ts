import pRetry from 'p-retry';
import { CancelledError, FileError } from '../errors.ts';
import { checkCancelled } from './cancel.ts';
import { allocate, type ByteSource, checkRange, memorySource, shortRead } from './source.ts';
import { reason } from './text.ts';

/** Largest file that is held whole in memory where a server ignores `Range`: config, tokenizer, small models. */
export const MAX_WHOLE_BODY_BYTES = 256 * 1024 * 1024;

/** What is asked for to learn a file's size. Not the first byte alone: some servers take the 0 at its end for no end at all. */
const PROBE = 'bytes=0-1';

/** How files come over HTTP. */
export interface HttpOptions {
  readonly signal?: AbortSignal;
  /** In place of the global `fetch`: credentials, a cache, a test. */
  readonly fetch?: typeof fetch;
  /** How often a request that may succeed later is made again. Default 5. */
  readonly retries?: number;
  /** Milliseconds before the first of them; each waits twice as long as the one before. Default 500. */
  readonly retryDelay?: number;
  /** Milliseconds without a byte after which a connection counts as broken, and is tried again. Default 60,000. */
  readonly stallTimeout?: number;
  /** Called as bytes of this file arrive: how many since it was opened, repeated ones included. */
  readonly onBytes?: (received: number) => void;
}

/** What a server or a proxy answers when it may do better a moment later. */
const TRANSIENT = new Set([408, 425, 429, 500, 502, 503, 504]);

/** A failure that may not happen again; `error` is what the caller gets if it does. */
class Transient extends Error {
  readonly error: FileError;
  constructor(error: FileError) {
    super(error.message);
    this.error = error;
  }
}

/** Most milliseconds that a timer takes. */
const LONGEST = 2 ** 31 - 1;

/** Calls `stalled` unless it is ended in time. */
function watch({ stallTimeout = 60_000 }: HttpOptions, stalled: () => void): { end(): void } {
  const timer = setTimeout(stalled, Math.min(stallTimeout, LONGEST));
  return { end: () => clearTimeout(timer) };
}

/** Does `work`, again and again while it fails for reasons that may pass. */
async function persist<T>(work: () => Promise<T>, { signal, retries = 5, retryDelay = 500 }: HttpOptions): Promise<T> {
  try {
    return await pRetry(work, {
      retries,
      minTimeout: retryDelay,
      ...(signal && { signal }),
      shouldRetry: ({ error }) => error instanceof Transient,
    });
  } catch (error) {
    if (signal?.aborted) throw new CancelledError();
    throw error instanceof Transient ? error.error : error;
  }
}

/**
 * A file behind a URL, read by HTTP range requests. A server that ignores ranges has its whole answer kept in memory,
 * up to MAX_WHOLE_BODY_BYTES.
 * @throws FileError where the file is missing, unreachable, changes, or is too large for a server without ranges.
 */
export async function urlSource(url: string | URL, options: HttpOptions = {}): Promise<ByteSource> {
  const name = String(url);
  const first = await persist(() => request(name, PROBE, options), options);
  if (first.status === 206) {
    const size = sizeFromRange(name, first);
    const tag = first.headers.get('etag');
    await discard(first);
    return rangeSource(name, size, tag, options);
  }
  // An empty file has no byte 0.
  if (first.status === 416 && /^bytes \*\/0$/.test(first.headers.get('content-range') ?? '')) {
    await discard(first);
    return memorySource(name, new Uint8Array(0));
  }
  if (first.status !== 200) {
    await discard(first);
    throw httpError(name, first);
  }
  const announced = Number(first.headers.get('content-length') ?? Number.NaN);
  if (announced > MAX_WHOLE_BODY_BYTES) {
    await discard(first);
    throw noRanges(name);
  }
  return memorySource(name, await readWhole(name, first, options));
}

/** Whether the server has the file. A development server's HTML page in place of a missing file counts as missing. */
export async function urlExists(url: string | URL, options: HttpOptions = {}): Promise<boolean> {
  const response = await persist(() => request(String(url), PROBE, options), options);
  await discard(response);
  if (response.status === 404 || response.status === 410) return false;
  if (response.status === 416) return true;
  if (!response.ok) throw httpError(String(url), response);
  return !(response.headers.get('content-type') ?? '').startsWith('text/html');
}

function rangeSource(name: string, size: number, tag: string | null, options: HttpOptions): ByteSource {
  let received = 0;
  return {
    name,
    size,
    async read(offset, length, signal) {
      checkCancelled(signal);
      checkRange({ name, size }, offset, length);
      const bytes = allocate(name, length);
      const given = { ...options, signal: signal ?? options.signal };
      let done = 0;
      // Where a connection breaks, the next request asks for what is missing.
      const rest = async () => {
        const response = await requestRange(name, offset + done, offset + length - 1, size, tag, given);
        await readBody(name, response, given, (chunk) => {
          if (chunk.byteLength > length - done) throw shortRead(name, offset, length, done + chunk.byteLength);
          bytes.set(chunk, done);
          done += chunk.byteLength;
          received += chunk.byteLength;
          options.onBytes?.(received);
        });
        if (done < length) throw new Transient(shortRead(name, offset, length, done));
      };
      if (length > 0) await persist(rest, given);
      return bytes;
    },
    async close() {},
  };
}

async function requestRange(
  name: string,
  first: number,
  last: number,
  size: number,
  tag: string | null,
  options: HttpOptions,
): Promise<Response> {
  const response = await request(name, `bytes=${first}-${last}`, options);
  const sameTag = tag === null || (response.headers.get('etag') ?? tag) === tag;
  const expected = `bytes ${first}-${last}/${size}`;
  if (response.status === 206 && response.headers.get('content-range') === expected && sameTag) return response;
  await discard(response);
  if (!response.ok) throw httpError(name, response);
  throw new FileError(
    `${name}: the server no longer answers the range ${first}-${last} of the file that was opened. ` +
      'It changed while it was being read; start again.',
  );
}

/** @throws Transient where the network fails or the server says that it may do better later. */
async function request(name: string, range: string, options: HttpOptions): Promise<Response> {
  checkCancelled(options.signal);
  let response: Response;
  const silence = new AbortController();
  const answer = watch(options, () => silence.abort(new Error('no answer came')));
  // The caller's signal ends the body, too.
  const signal = options.signal ? AbortSignal.any([options.signal, silence.signal]) : silence.signal;
  try {
    // Only headers that need no CORS preflight.
    response = await (options.fetch ?? fetch)(name, { headers: { Range: range }, signal });
  } catch (error) {
    if (options.signal?.aborted) throw new CancelledError();
    throw new Transient(
      new FileError(
        `${name}: the request failed (${reason(error)}). Check the address, the network and, in a browser, CORS.`,
        { cause: error },
      ),
    );
  } finally {
    answer.end();
  }
  if (!TRANSIENT.has(response.status)) return response;
  await discard(response);
  throw new Transient(httpError(name, response));
}

/** Gives the chunks of an answer's body to `take`. @throws Transient where the connection breaks. */
async function readBody(
  name: string,
  response: Response,
  options: HttpOptions,
  take: (chunk: Uint8Array) => void,
): Promise<void> {
  const { signal } = options;
  const reader = response.body?.getReader();
  let size = 0;
  for (;;) {
    let chunk: ReadableStreamReadResult<Uint8Array> | undefined;
    let next: { end(): void } | undefined;
    try {
      const stalled = new Promise<never>((_, reject) => {
        next = watch(options, () => reject(new Error('no byte came for a while')));
      });
      chunk = await Promise.race([reader?.read(), stalled]);
    } catch (error) {
      // One that stalls is still open. It may take its time to close, which nobody waits for.
      reader?.cancel().catch(() => undefined);
      if (signal?.aborted) throw new CancelledError();
      throw new Transient(
        new FileError(`${name}: the connection broke after ${size} bytes (${reason(error)}); try again.`, {
          cause: error,
        }),
      );
    } finally {
      next?.end();
    }
    if (!chunk || chunk.done) return;
    size += chunk.value.byteLength;
    try {
      take(chunk.value);
    } catch (error) {
      // The rest is not wanted.
      await reader?.cancel().catch(() => undefined);
      throw error;
    }
  }
}

/** The whole answer, in memory: never more than MAX_WHOLE_BODY_BYTES is held. It is not repeated where it breaks. */
async function readWhole(name: string, response: Response, options: HttpOptions): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    await readBody(name, response, options, (chunk) => {
      size += chunk.byteLength;
      if (size > MAX_WHOLE_BODY_BYTES) throw noRanges(name);
      chunks.push(chunk);
      options.onBytes?.(size);
    });
  } catch (error) {
    throw error instanceof Transient ? error.error : error;
  }
  const body = allocate(name, size);
  let at = 0;
  for (const chunk of chunks) {
    body.set(chunk, at);
    at += chunk.byteLength;
  }
  return body;
}

function sizeFromRange(name: string, response: Response): number {
  const encoding = response.headers.get('content-encoding');
  const size = Number(/^bytes 0-[01]\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1] ?? Number.NaN);
  if (Number.isSafeInteger(size) && (encoding === null || encoding === 'identity')) return size;
  throw new FileError(
    `${name}: the server's range answer does not tell the file's size. It must send Content-Range uncompressed and, ` +
      'across origins, list it in Access-Control-Expose-Headers.',
  );
}

const httpError = (name: string, response: Response): FileError =>
  new FileError(`${name}: the server answered ${response.status} ${response.statusText}. Check the address.`);

const noRanges = (name: string): FileError =>
  new FileError(
    `${name}: the server ignores Range requests and the file is larger than ${MAX_WHOLE_BODY_BYTES} bytes, the most ` +
      'that is read whole. Serve it with range support, or download it first.',
  );

const discard = async (response: Response): Promise<void> => {
  // The connection is given up; nothing is left to report.
  await response.body?.cancel().catch(() => undefined);
};
