import { readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import type { ShaderSource } from '../src/gpu/shader-source.ts';

const SHADERS = resolve(import.meta.dirname, '../shaders');
const INCLUDE = /^\s*\/\/\s*#include\s+"([^"]+)"\s*$/;

/** Reads a shader, expands its `// #include "file"` comments (each file once), drops the others and maps every line to its origin. */
export function readShader(path: string): ShaderSource & { paths: string[] } {
  const files: string[] = [];
  const paths: string[] = [];
  const code: string[] = [];
  const lines: number[] = [];

  const expand = (file: string, from?: string): void => {
    if (paths.includes(file)) return;
    let text: string;
    try {
      text = readFileSync(file, 'utf8');
    } catch {
      throw new Error(`${from ?? 'import'} includes ${relative(SHADERS, file)}, which does not exist.`);
    }
    const index = paths.push(file) - 1;
    files.push(relative(SHADERS, file).split(sep).join('/'));
    for (const [i, line] of text.replace(/\n$/, '').split('\n').entries()) {
      const include = INCLUDE.exec(line);
      if (include) {
        expand(join(dirname(file), include[1]!), `${files[index]}:${i + 1}`);
        continue;
      }
      // Comments and indentation stay in the sources: they are half of what a page would load.
      const bare = line.replace(/\s*\/\/.*$/, '').trim();
      if (bare === '') continue;
      code.push(bare);
      lines.push(index, i + 1);
    }
  };
  expand(path);
  return { name: files[0]!.replace(/\.wgsl$/, ''), code: `${code.join('\n')}\n`, files, lines, paths };
}

/** Vite and Rolldown plugin: `import source from './kernel.wgsl'` yields a `ShaderSource`. */
export function wgsl() {
  return {
    name: 'compressa-wgsl',
    load(this: { addWatchFile(path: string): void }, id: string) {
      const path = id.split('?')[0]!;
      if (!path.endsWith('.wgsl')) return null;
      const { paths, ...source } = readShader(path);
      for (const included of paths) this.addWatchFile(included);
      return { code: `export default ${JSON.stringify(source)};`, moduleType: 'js' as const, map: null };
    },
  };
}
