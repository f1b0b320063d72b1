// Results of the suite as files: JSON, a page, Markdown.
import { mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import * as v from 'valibot';
import { FileError } from '../src/errors.ts';
import { nodeFileSink } from '../src/files/node-sink.ts';
import { benchHtml } from './suite/report/html.ts';
import { benchMarkdown } from './suite/report/markdown.ts';
import { BENCH_VERSION, type Bench, BenchSchema } from './suite/results-schema.ts';

/** @throws FileError where there are no such results, with words of its own for those of another version */
export async function readBench(path: string): Promise<Bench> {
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    throw new FileError(`${path} can't be read as JSON: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
  const { version } = (json ?? {}) as { version?: unknown };
  if (typeof version === 'number' && version !== BENCH_VERSION) {
    throw new FileError(
      `${path} has results of version ${version}; these are compared in version ${BENCH_VERSION}. Measure it again, with the code of then and the suite of now.`,
    );
  }
  const parsed = v.safeParse(BenchSchema, json);
  if (!parsed.success) throw new FileError(`${path} is no result of this suite: ${v.summarize(parsed.issues)}`);
  return parsed.output;
}

/** Writes them, each beside its name and renamed when it is complete, so that a stop leaves no half of one; returns the Markdown and the paths. */
export async function writeBench(
  bench: Bench,
  { json, report }: { readonly json: string; readonly report: string },
): Promise<{ readonly markdown: string; readonly paths: readonly string[] }> {
  const markdown = benchMarkdown(bench);
  const files = {
    [json]: `${JSON.stringify(bench, undefined, 1)}\n`,
    [report]: await benchHtml(bench),
    [report.replace(/(\.html)?$/, '.md')]: markdown,
  };
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(path), { recursive: true });
    const sink = await nodeFileSink(path, { overwrite: true });
    await sink.write(new TextEncoder().encode(text));
    await sink.commit();
  }
  return { markdown, paths: Object.keys(files) };
}
