// What times include, as text: what contestants said of each case, each thing once.
import type { Bench, BenchCase } from '../results-schema.ts';

export const NOTES_TITLE = 'What times include';

/** How long runs are and over how many weights they go differs from shape to shape, and is no difference of method. */
const COUNTS = /\b\d+(?= (?:products|copies|sessions|times|dispatches)\b)/g;

interface Note {
  readonly cases: BenchCase[];
  readonly texts: string[];
}

/** A line for each thing that a contestant of a suite said: `suite, contestant[, where that is not true of all its cases]: note`. */
export function noteLines({ cases }: Pick<Bench, 'cases'>): string[] {
  const contestants = new Map<string, { readonly cases: BenchCase[]; readonly notes: Map<string, Note> }>();
  for (const one of cases) {
    for (const { name, note } of one.contestants) {
      const key = `${one.suite}, ${name}`;
      const of = contestants.get(key) ?? { cases: [], notes: new Map<string, Note>() };
      contestants.set(key, of);
      of.cases.push(one);
      const pattern = note.replace(COUNTS, '#');
      const said = of.notes.get(pattern) ?? { cases: [], texts: [] };
      of.notes.set(pattern, said);
      said.cases.push(one);
      said.texts.push(note);
    }
  }
  return [...contestants].flatMap(([contestant, of]) =>
    [...of.notes.values()].map(
      (note) =>
        `${contestant}${of.notes.size === 1 ? '' : `, ${whereOf(note.cases, of.cases)}`}: ${rangesOf(note.texts)}`,
    ),
  );
}

/** The values of named dimensions that some cases have and others have not; else how many they are. */
function whereOf(some: readonly BenchCase[], all: readonly BenchCase[]): string {
  const names = new Set(all.flatMap(({ dimensions }) => Object.keys(dimensions)));
  const valuesOf = (cases: readonly BenchCase[], name: string) =>
    new Set(cases.flatMap(({ dimensions }) => dimensions[name] ?? []));
  const told = [...names].flatMap((name) => {
    const [mine, every] = [valuesOf(some, name), valuesOf(all, name)];
    const words = [...mine].filter((value) => typeof value === 'string');
    return words.length === 0 || words.length === every.size ? [] : [words.join(', ')];
  });
  const share = `${some.length} of ${all.length} cases`;
  return told.length === 0 ? share : `${told.join('; ')}`;
}

/** Notes that differ by counts only, as one: `8 to 64 products`. */
function rangesOf(texts: readonly string[]): string {
  const counts = texts.map((text) => [...text.matchAll(COUNTS)].map(Number));
  let at = 0;
  return texts[0]!.replace(COUNTS, () => {
    const column = counts.map((of) => of[at]!);
    at++;
    const [least, most] = [Math.min(...column), Math.max(...column)];
    return least === most ? `${least}` : `${least} to ${most}`;
  });
}
