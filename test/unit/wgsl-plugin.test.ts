import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readShader } from '../../tools/wgsl-plugin.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'compressa-wgsl-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function codeOf(text: string): string[] {
  const file = join(folder, 'shader.wgsl');
  writeFileSync(file, text);
  return readShader(file).code.split('\n');
}

describe('what a shader repeats', () => {
  test('is there once for each value, and the lines behind it keep their numbers', () => {
    const code = codeOf('before\n// #repeat i 3\nlet a$i = $iu; // why\n  // more\n// #end\nbehind\n');
    expect(code.map((line) => line.replace(/\s+/g, ' '))).toEqual([
      'before',
      '',
      'let a0 = 0u; let a1 = 1u; let a2 = 2u;',
      '',
      '',
      'behind',
    ]);
  });

  test('may repeat something itself', () => {
    const code = codeOf('// #repeat r 2\nx$r:\n// #repeat c 2\n$r$c\n// #end\n// #end\nbehind');
    expect(code[1]!.split(/\s+/).filter(Boolean)).toEqual(['x0:', '00', '01', 'x1:', '10', '11']);
    expect(code[6]).toBe('behind');
    expect(code).toHaveLength(7);
  });

  test('has a beginning and an end', () => {
    expect(() => codeOf('// #repeat i 2\na$i')).toThrow(/:1 repeats without an end/);
    expect(() => codeOf('a\n// #end')).toThrow(/:2 ends a repetition that does not begin/);
  });
});
