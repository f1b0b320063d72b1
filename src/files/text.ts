/** Characters of a name from a file that an error message shows. */
const SHOWN_NAME_LENGTH = 120;

/** A name from a file, safe to print: quoted, control characters escaped, cut to a readable length. */
export function quote(name: string): string {
  const cut = name.length > SHOWN_NAME_LENGTH ? `${name.slice(0, SHOWN_NAME_LENGTH)}…` : name;
  // JSON escapes C0 only; DEL, C1 and direction overrides can fool a terminal too.
  return JSON.stringify(cut).replace(
    /[\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Whether every surrogate of `text` has its partner, so that it has a UTF-8 form. */
export const isWellFormed = (text: string): boolean => !/\p{Surrogate}/u.test(text);

/** What an unknown thrown value says. */
export const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));
