import { FileError } from '../errors.ts';
import { quote, reason } from './text.ts';

/** Deepest nesting of any JSON that we read. Real files stay below 20; it keeps recursive checks off the stack's end. */
export const MAX_JSON_DEPTH = 64;

/** What JSON can hold. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
/** A JSON object. Read it by `Object.entries` or `Object.hasOwn`: its keys come from a file. */
export type JsonObject = { [key: string]: Json };

/** Keys that copying an object by assignment, or a schema library, would lose or act on (CWE-1321). */
const PROTOTYPE_KEYS: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

const DAMAGED = 'The file is damaged or not of this type; download it again or name another.';

/** How strict to be. */
export interface StrictJsonOptions {
  /** Refuse `__proto__`, `constructor` and `prototype` as keys. */
  readonly refusePrototypeKeys?: boolean;
}

/**
 * Parses UTF-8 JSON that must be one object, without duplicate keys (two readers could see two different files) and
 * without deep nesting.
 * @param where the file and place, for messages
 */
export function parseJsonObject(bytes: Uint8Array, where: string, options: StrictJsonOptions = {}): JsonObject {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new FileError(`${where} is not valid UTF-8. ${DAMAGED}`);
  }
  return parseJsonObjectText(text, where, options);
}

/** As `parseJsonObject`, from text. */
export function parseJsonObjectText(text: string, where: string, options: StrictJsonOptions = {}): JsonObject {
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch (error) {
    throw new FileError(`${where} is not valid JSON (${quote(reason(error))}). ${DAMAGED}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FileError(`${where} is not a JSON object. ${DAMAGED}`);
  }
  scanKeys(text, where, options);
  return value;
}

/** Walks text that JSON.parse accepted and refuses what it silently allows. */
function scanKeys(text: string, where: string, options: StrictJsonOptions): void {
  // One entry an open bracket: the keys seen so far, or undefined for an array.
  const stack: (Set<string> | undefined)[] = [];
  let expectKey = false;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x7b: // {
      case 0x5b: // [
        expectKey = text.charCodeAt(i) === 0x7b;
        if (stack.push(expectKey ? new Set() : undefined) > MAX_JSON_DEPTH) {
          throw new FileError(
            `${where} nests more than ${MAX_JSON_DEPTH} levels at character ${i}. No real file does; download it again or name another.`,
          );
        }
        break;
      case 0x7d: // }
      case 0x5d: // ]
        stack.pop();
        expectKey = false;
        break;
      case 0x2c: // ,
        expectKey = stack.at(-1) !== undefined;
        break;
      case 0x22: {
        const end = stringEnd(text, i);
        if (expectKey) {
          checkKey(text.slice(i, end + 1), stack.at(-1)!, i, where, options);
          expectKey = false;
        }
        i = end;
      }
    }
  }
}

function checkKey(raw: string, seen: Set<string>, at: number, where: string, options: StrictJsonOptions): void {
  // Escapes are decoded first: two spellings of one key are one key.
  const key = raw.includes('\\') ? (JSON.parse(raw) as string) : raw.slice(1, -1);
  if (seen.has(key)) {
    throw new FileError(`${where} has the key ${quote(key)} twice (character ${at}). Remove one of them.`);
  }
  if (options.refusePrototypeKeys && PROTOTYPE_KEYS.has(key)) {
    throw new FileError(`${where} uses the reserved key ${quote(key)} (character ${at}). Rename it.`);
  }
  seen.add(key);
}

/** Index of the quote that closes the string opened at `start`. */
function stringEnd(text: string, start: number): number {
  for (let i = start + 1; ; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x5c) i++;
    else if (c === 0x22) return i;
  }
}
