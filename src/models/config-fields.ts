/** What the fields of every family's `config.json` have in common: their limits, and how a bad one is reported. */
import * as v from 'valibot';
import { ModelError } from '../errors.ts';

export const whole = (max: number) => {
  const message = `must be a whole number from 1 to ${max}`;
  return v.pipe(v.number(message), v.integer(message), v.minValue(1, message), v.maxValue(max, message));
};
export const between = (low: number, high: number) => {
  const message = `must be a number above ${low} and up to ${high}`;
  return v.pipe(v.number(message), v.gtValue(low, message), v.maxValue(high, message));
};
export const flag = v.nullish(v.boolean('must be true or false'), false);
export const theta = between(0, 1e15);

/** `silu`, say, and nothing else; absent means just that. */
export const activation = <const Name extends string>(...names: [Name, ...Name[]]) =>
  v.nullish(
    v.picklist(
      names,
      `is an activation that is not supported; only ${names.map((name) => `"${name}"`).join(' and ')} ${names.length > 1 ? 'are' : 'is'}`,
    ),
    names[0],
  );

const REMEDY = 'Use the config.json that belongs to the checkpoint, as its publisher wrote it.';

/** Throws the `ModelError` that says what is wrong with the config in `file`. */
export const failIn =
  (file: string) =>
  (problem: string): never => {
    throw new ModelError(`${file}: ${problem}. ${REMEDY}`);
  };

/** Shown in messages: short, whatever the file holds. */
const shown = (value: unknown): string => {
  const text = JSON.stringify(value) ?? 'missing';
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
};

/** Reads a parsed config. @throws ModelError that names the first bad field, what it must be and what was found */
export function readFields<Schema extends v.GenericSchema>(
  schema: Schema,
  config: unknown,
  file: string,
): v.InferOutput<Schema> {
  const result = v.safeParse(schema, config, { abortEarly: true, abortPipeEarly: true });
  if (result.success) return result.output;
  const issue = result.issues[0];
  const field = v.getDotPath(issue) ?? 'the whole file';
  // An absent key is reported by the object, with its own words; the field's words say what is wanted.
  const problem = issue.input === undefined ? 'is missing' : `${issue.message}`;
  const found = issue.input === undefined ? '' : ` (found ${shown(issue.input)})`;
  return failIn(file)(`${field} ${problem}${found}`);
}
