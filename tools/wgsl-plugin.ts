import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import type { ShaderSource } from '../src/gpu/shader-source.ts';

const SHADERS = resolve(import.meta.dirname, '../shaders');
const INCLUDE = /^\s*\/\/\s*#include\s+"([^"]+)"\s*$/;

const nameOf = (path: string): string => relative(SHADERS, path).split(sep).join('/');

/** A shader by itself, and the paths of the files that it names in `// #include "file"` comments. */
export function readShader(path: string): Omit<ShaderSource, 'includes'> & { readonly included: readonly string[] } {
  const included: string[] = [];
  const lines = readFileSync(path, 'utf8').replace(/\n$/, '').split('\n');
  const code = lines.map((line, i) => {
    const include = INCLUDE.exec(line);
    if (include) {
      const file = join(dirname(path), include[1]!);
      if (!existsSync(file)) {
        throw new Error(`${nameOf(path)}:${i + 1} includes ${nameOf(file)}, which does not exist.`);
      }
      included.push(file);
    }
    // Comments and indentation stay in the sources: they are half of what a page would load. Their lines stay, so that line numbers do.
    return line.replace(/\s*\/\/.*$/, '').trim();
  });
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
