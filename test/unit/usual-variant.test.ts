import { expect, test } from 'vitest';
import { formatByName } from '../../src/formats/registry.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { integerVariants, usualIntegerVariant } from '../../src/kernels/integer-linear.ts';
import { linearCandidates, linearVariantsFor, usualVariant } from '../../src/kernels/linear-variants.ts';

const device = (software: boolean, subgroupLanes: number) => ({ description: { software }, subgroupLanes }) as Gpu;
const q4 = formatByName('q4_0');
const f16 = formatByName('f16');

test.each([
  [
    'a GPU shares the columns of a row among threads',
    device(false, 32),
    { rows: 4096, k: 4096, tokens: 1 },
    q4,
    'vector-32',
  ],
  [
    'a GPU keeps tiles of many tokens in workgroup memory',
    device(false, 32),
    { rows: 4096, k: 4096, tokens: 128 },
    q4,
    'staged-64',
  ],
  [
    'a GPU does not stage what would not fill a tile',
    device(false, 32),
    { rows: 8, k: 4096, tokens: 128 },
    q4,
    'tile-4',
  ],
  [
    'a CPU unpacks for up to eight tokens at once',
    device(true, 8),
    { rows: 4096, k: 4096, tokens: 128 },
    q4,
    'broadcast-8',
  ],
  [
    'a CPU broadcasts more tokens to what is not packed',
    device(true, 8),
    { rows: 4096, k: 4096, tokens: 128 },
    f16,
    'broadcast-32',
  ],
  ['a CPU without subgroups keeps tiles in registers', device(true, 0), { rows: 64, k: 64, tokens: 16 }, q4, 'tile-8'],
  ['rows that are no multiple of four', device(true, 8), { rows: 64, k: 63, tokens: 2 }, f16, 'vector-1'],
] as const)('%s', (_, gpu, shape, format, name) => {
  expect(usualVariant(gpu, shape, format)).toBe(name);
  expect(linearVariantsFor(gpu, shape).map((variant) => variant.name)).toContain(name);
});

test.each([
  [1, [1]],
  [2, [1, 2]],
  [5, [1, 2, 4, 8]],
  [16, [1, 2, 4, 8, 16]],
  [17, [1, 2, 4, 8, 16, 32]],
  [500, [1, 2, 4, 8, 16, 32]],
])(
  '%i tokens are not tried by threads that own twice as many, since narrower ones have less to do',
  (tokens, widths) => {
    const [gpu, shape] = [device(true, 8), { rows: 64, k: 64, tokens }];
    const broadcasts = (of: typeof integerVariants | undefined) =>
      linearCandidates(gpu, shape, of).flatMap(({ name }) => (name.startsWith('broadcast') ? [name] : []));
    expect(broadcasts(undefined)).toEqual(widths.map((width) => `broadcast-${width}`));
    expect(broadcasts(integerVariants)).toEqual(
      widths.filter((width) => width <= 16).map((width) => `broadcast-${width}`),
    );
    // What serves untimed is always among them.
    for (const format of [q4, f16]) expect(broadcasts(undefined)).toContain(usualVariant(gpu, shape, format));
    expect(broadcasts(integerVariants)).toContain(usualIntegerVariant(gpu, shape));
  },
);
