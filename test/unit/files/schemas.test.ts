import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { renderSchemas } from '../../../tools/schemas.ts';

test.each([...renderSchemas()])('schemas/%s is current (npx tsx tools/schemas.ts)', async (name, text) => {
  expect(await readFile(join(import.meta.dirname, '../../../schemas', name), 'utf8')).toBe(text);
});
