/** Writes to standard output and waits until it is taken, so that nothing is cut off when the process ends. */
export function write(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => {
      // Whoever read us has closed the pipe (`compressa … | head`): nobody is left to tell.
      if (error && (error as NodeJS.ErrnoException).code !== 'EPIPE') reject(error);
      else resolve();
    });
  });
}

/** The same with the end of the line. */
export const print = (text: string): Promise<void> => write(`${text}\n`);

/** The one document of `--json`. */
export const printJson = (value: unknown): Promise<void> => print(JSON.stringify(value, undefined, 2));

/** Two columns of text under an optional title. */
export function table(rows: readonly (readonly [string, string])[], title?: string): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`.trimEnd());
  return [...(title ? [title] : []), ...lines].join('\n');
}
