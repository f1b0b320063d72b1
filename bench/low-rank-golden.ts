// Writes the matrices of the low-rank suite into a folder, for bench/low-rank-golden.py, which gives their singular values (LAPACK, f64):
// tsx bench/low-rank-golden.ts out/suite && python3 bench/low-rank-golden.py out/suite > bench/low-rank-golden.json
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { lowRankSuite, modelMatrices } from './low-rank-suite.ts';

const folder = process.argv[2]!;
await mkdir(folder, { recursive: true });
const index: object[] = [];
for await (const { name, rows, columns, values } of [...lowRankSuite(), ...(await modelMatrices())]) {
  await writeFile(join(folder, `${index.length}.f32`), values);
  index.push({ name, rows, columns });
}
await writeFile(join(folder, 'index.json'), JSON.stringify(index));
