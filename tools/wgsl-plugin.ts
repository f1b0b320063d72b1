import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import type { ShaderSource } from '../src/gpu/shader-source.ts';

const SHADERS = resolve(import.meta.dirname, '../shaders');
const INCLUDE = /^\s*\/\/\s*#include\s+"([^"]+)"\s*$/;

const REPEAT = /^\s*\/\/\s*#repeat\s+(\w+)\s+(\d+)\s*$/;
const END = /^\s*\/\/\s*#end\s*$/;

const nameOf = (path: string): string => relative(SHADERS, path).split(sep).join('/');

/**
 * What stands between `// #repeat i 4` and `// #end`, once for each i from 0 on, `$i` being its value: register tiles, and arguments that WGSL wants
 * constant. All copies are on the block's first line, so that the lines behind it keep their numbers.
 */
function repeat(lines: readonly string[], name: string): string[] {
  const out: string[] = [];
  for (let i = 0; i < lines.length; i++) {
    const [, variable, times] = REPEAT.exec(lines[i]!) ?? [];
    if (END.test(lines[i]!)) throw new Error(`${name}:${i + 1} ends a repetition that does not begin.`);
    out.push(variable === undefined ? lines[i]! : '');
    if (variable === undefined) continue;
    let depth = 1;
    let end = i + 1;
    for (; end < lines.length; end++) {
      if (REPEAT.test(lines[end]!)) depth++;
      else if (END.test(lines[end]!) && --depth === 0) break;
    }
    if (depth > 0) throw new Error(`${name}:${i + 1} repeats without an end.`);
    const body = repeat(lines.slice(i + 1, end), name)
      .map(withoutComment)
      .join(' ');
    const copies = Array.from({ length: Number(times) }, (_, value) => body.replaceAll(`$${variable}`, String(value)));
    out.push(copies.join(' '), ...Array.from({ length: end - i - 1 }, () => ''));
    i = end;
  }
  return out;
}

// Comments and indentation stay in the sources: they are half of what a page would load. Their lines stay, so that line numbers do.
const withoutComment = (line: string): string => line.replace(/\s*\/\/.*$/, '').trim();

/** A shader by itself, and the paths of the files that it names in `// #include "file"` comments. */
export function readShader(path: string): Omit<ShaderSource, 'includes'> & { readonly included: readonly string[] } {
  const included: string[] = [];
  const lines = readFileSync(path, 'utf8').replace(/\n$/, '').split('\n');
  for (const [i, line] of lines.entries()) {
    const include = INCLUDE.exec(line);
    if (include) {
      const file = join(dirname(path), include[1]!);
      if (!existsSync(file)) {
        throw new Error(`${nameOf(path)}:${i + 1} includes ${nameOf(file)}, which does not exist.`);
      }
      included.push(file);
    }
  }
  const code = repeat(lines, nameOf(path)).map(withoutComment);
  return { name: nameOf(path).replace(/\.wgsl$/, ''), code: code.join('\n'), included };
}

/**
 * Vite and Rolldown plugin: `import source from './kernel.wgsl'` yields a `ShaderSource`. What several shaders include is a module of its own, so that
 * a bundle has it once.
 */
export function wgsl() {
  return {
    name: 'compressa-wgsl',
    load(id: string) {
      const path = id.split('?')[0]!;
      if (!path.endsWith('.wgsl')) return null;
      const { included, ...source } = readShader(path);
      const specifier = (file: string) => {
        const from = relative(dirname(path), file).split(sep).join('/');
        return JSON.stringify(from.startsWith('.') ? from : `./${from}`);
      };
      const imports = included.map((file, i) => `import i${i} from ${specifier(file)};`);
      const includes = included.map((_, i) => `i${i}`);
      const fields = `name: ${JSON.stringify(source.name)}, code: ${JSON.stringify(source.code)}`;
      return {
        code: `${imports.join('\n')}\nexport default { ${fields}, includes: [${includes.join(', ')}] };`,
        moduleType: 'js' as const,
        map: null,
      };
    },
  };
}
