import { fileSystemError, systemCode } from '../files/node-error.ts';

// Failed writes also arrive as events, which end the process where nobody listens; the callbacks below deal with them.
process.stdout.on('error', () => undefined);

/**
 * Writes to standard output and waits until it is taken, so that nothing is cut off when the process ends. False when whoever read us
 * has closed the pipe (`compressa … | head`): nobody is left to tell.
 * @throws FileError for any other failure, such as a full disk.
 */
export function write(text: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const settle = (error: unknown): void => {
      if (!error) resolve(true);
      else if (['EPIPE', 'ERR_STREAM_DESTROYED'].includes(systemCode(error) ?? '')) resolve(false);
      else reject(fileSystemError('standard output', error));
    };
    try {
      process.stdout.write(text, settle);
    } catch (error) {
      // Writing to a file is synchronous, and some versions of Node throw.
      settle(error);
    }
  });
}

/** The same with the end of the line. */
export async function print(text: string): Promise<void> {
  await write(`${text}\n`);
}

/** The one document of `--json`. */
export const printJson = (value: unknown): Promise<void> => print(JSON.stringify(value, undefined, 2));

/** Two columns of text under an optional title. */
export function table(rows: readonly (readonly [string, string])[], title?: string): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`.trimEnd());
  return [...(title ? [title] : []), ...lines].join('\n');
}
