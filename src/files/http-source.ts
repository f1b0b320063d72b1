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
}

/**
 * A file behind a URL, read by HTTP range requests. A server that ignores ranges has its whole answer kept in memory,
 * up to MAX_WHOLE_BODY_BYTES.
 * @throws FileError where the file is missing, unreachable, changes, or is too large for a server without ranges.
 */
export async function urlSource(url: string | URL, options: HttpOptions = {}): Promise<ByteSource> {
  const name = String(url);
  const first = await request(name, PROBE, options);
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
  const body = await readBody(name, first, MAX_WHOLE_BODY_BYTES, options.signal);
  if (body === undefined) throw noRanges(name);
  return memorySource(name, body);
}

/** Whether the server has the file. A development server's HTML page in place of a missing file counts as missing. */
export async function urlExists(url: string | URL, options: HttpOptions = {}): Promise<boolean> {
  const response = await request(String(url), PROBE, options);
  await discard(response);
  if (response.status === 404 || response.status === 410) return false;
  if (response.status === 416) return true;
  if (!response.ok) throw httpError(String(url), response);
  return !(response.headers.get('content-type') ?? '').startsWith('text/html');
}

function rangeSource(name: string, size: number, tag: string | null, options: HttpOptions): ByteSource {
  return {
    name,
    size,
    async read(offset, length, signal) {
      checkCancelled(signal);
      checkRange({ name, size }, offset, length);
      if (length === 0) return allocate(name, 0);
      const last = offset + length - 1;
      const response = await request(name, `bytes=${offset}-${last}`, { ...options, signal: signal ?? options.signal });
      const sameTag = tag === null || (response.headers.get('etag') ?? tag) === tag;
      const expected = `bytes ${offset}-${last}/${size}`;
      if (response.status !== 206 || response.headers.get('content-range') !== expected || !sameTag) {
        await discard(response);
        if (!response.ok) throw httpError(name, response);
        throw new FileError(
          `${name}: the server no longer answers the range ${offset}-${last} of the file that was opened. ` +
            'It changed while it was being read; start again.',
        );
      }
      const bytes = await readBody(name, response, length, signal);
      if (bytes?.byteLength !== length) throw shortRead(name, offset, length, bytes?.byteLength ?? length + 1);
      return bytes;
    },
    async close() {},
  };
}

async function request(name: string, range: string, options: HttpOptions): Promise<Response> {
  checkCancelled(options.signal);
  try {
    // Only headers that need no CORS preflight.
    return await (options.fetch ?? fetch)(name, { headers: { Range: range }, signal: options.signal ?? null });
  } catch (error) {
    if (options.signal?.aborted) throw new CancelledError();
    throw new FileError(
      `${name}: the request failed (${reason(error)}). Check the address, the network and, in a browser, CORS.`,
      { cause: error },
    );
  }
}

/** The answer's body, or undefined where it is longer than `limit`: never more than that is held. */
async function readBody(
  name: string,
  response: Response,
  limit: number,
  signal?: AbortSignal,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    const reader = response.body?.getReader();
    for (;;) {
      const chunk = await reader?.read();
      if (!chunk || chunk.done) break;
      size += chunk.value.byteLength;
      if (size > limit) {
        await reader?.cancel();
        return undefined;
      }
      chunks.push(chunk.value);
    }
  } catch (error) {
    if (signal?.aborted) throw new CancelledError();
    throw new FileError(`${name}: the connection broke after ${size} bytes (${reason(error)}); try again.`, {
      cause: error,
    });
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
