// Failed writes also arrive as events, which end the process where nobody listens; the callbacks below deal with them.
process.stdout.on('error', () => undefined);

/**
 * Writes to standard output and waits until it is taken, so that nothing is cut off when the process ends. False when whoever read us
 * has closed the pipe (`compressa … | head`): nobody is left to tell.
 */
export function write(text: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => {
      if (!error) resolve(true);
      else if (['EPIPE', 'ERR_STREAM_DESTROYED'].includes((error as NodeJS.ErrnoException).code ?? '')) resolve(false);
      else reject(error);
    });
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
