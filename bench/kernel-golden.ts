// Writes the kernels of the suite into a folder, for bench/kernel-golden.py, which says what their factorizations leave out at least (numpy, f64):
// tsx bench/kernel-golden.ts out/kernels && python3 bench/kernel-golden.py out/kernels > bench/kernel-golden.json
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { kernelSuite } from './kernel-suite.ts';

const folder = process.argv[2]!;
await mkdir(folder, { recursive: true });
const index: object[] = [];
for (const { values, ...kernel } of kernelSuite()) {
  await writeFile(join(folder, `${index.length}.f32`), values);
  index.push(kernel);
}
await writeFile(join(folder, 'index.json'), JSON.stringify(index));
