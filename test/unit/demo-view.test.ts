import { expect, test } from 'vitest';
import { rowsTogether } from '../../demo/src/engine/dense-tensor.ts';
import { choiceOf, formatChoices, formatOf, methodChoices, planOf } from '../../demo/src/engine/knobs.ts';
import { levelsOf, pyramidBytes } from '../../demo/src/engine/pyramid.ts';
import { magnitudeColour } from '../../demo/src/palette.ts';
import { decodeView, encodeView, FIRST_VIEW, type ViewState } from '../../demo/src/view-state.ts';
import { cameraFor, onFrame } from '../../demo/src/views/landscape-camera.ts';
import { ticks } from '../../demo/src/views/landscape-scale.ts';
import { bounded, weightUnder, wholePlace, zoomed } from '../../demo/src/views/place.ts';
import { patternText, sparsityOf } from '../../demo/src/views/sparsity-knobs.ts';
import { formatByName, formats } from '../../src/formats/registry.ts';
import { parsePattern } from '../../src/passes/pruning/pruning.ts';

test('a link brings back what it was made of', () => {
  const view: ViewState = {
    ...FIRST_VIEW,
    page: 'model',
    tensor: 'model.layers.3.mlp.down_proj.weight',
    place: { column: 10.5, row: 3, zoom: 24 },
    knobs: { format: 'int3-g64-asym', method: 'search', pattern: '2:4x8', rank: 0 },
    recipe: { version: 1, rules: [{ match: '*', role: 'linear', format: 'q4_0', prune: { pattern: '50%' } }] },
  };
  expect(decodeView(encodeView(view))).toEqual(view);
  expect(encodeView(FIRST_VIEW)).toBe('');
});

test('a link that makes no sense opens the first view, or what of it does', () => {
  for (const hash of ['#x', '#%', '#null', '#[1,2]', '#%7B%22knobs%22%3A7%7D', '#%7B%22divider%22%3A9%7D']) {
    expect(decodeView(hash)).toEqual(FIRST_VIEW);
  }
  const half = { tensor: 'a', recipe: { version: 7 }, panel: 'nowhere', place: { column: null, row: 1, zoom: 1 } };
  expect(decodeView(`#${encodeURIComponent(JSON.stringify(half))}`)).toEqual({ ...FIRST_VIEW, tensor: 'a' });
});

test('the knobs offer every format of the registry, by itself or as a kind with a group', () => {
  const choices = formatChoices();
  expect(new Set(choices).size).toBe(choices.length);
  for (const { name } of formats) {
    const { choice, group } = choiceOf(name);
    expect(choices).toContain(choice);
    expect(formatOf(choice, group)).toBe(name);
  }
});

test('methods that are offered are those that a format has and that need no text', () => {
  expect(methodChoices('q4_0')).toEqual(['rtn', 'search']);
  expect(methodChoices('int4-g64-fzp')).toEqual(['rtn', 'search', 'hqq']);
  expect(methodChoices('keep')).toEqual([]);
});

test('knobs that do not go together are refused with what would', () => {
  const knobs = { format: 'q4_0', pattern: '', rank: 0 };
  expect(() => planOf(knobs, 8, 40)).toThrow(/32/);
  expect(() => planOf({ ...knobs, rank: 20 }, 256, 256)).toThrow(/multiple of 32/);
  expect(planOf({ ...knobs, rank: 64, pattern: '2:4' }, 256, 256)).toMatchObject({ rank: 64, pattern: undefined });
  expect(planOf(knobs, 256, 256)).toMatchObject({ format: formatByName('q4_0'), method: 'search' });
});

test.each(['2:4', '4:8x4', '50%', '30%@row', 'block:16x16:75%'])(
  'the controls of the pattern %s write it again',
  (text) => {
    expect(patternText(sparsityOf(text), 256, 768)).toBe(text);
  },
);

test('whole columns and rows are blocks as long as the matrix', () => {
  const knobs = { ...sparsityOf(''), share: 25 };
  expect(parsePattern(patternText({ ...knobs, kind: 'columns' }, 256, 768))).toMatchObject({ rows: 256, columns: 1 });
  expect(parsePattern(patternText({ ...knobs, kind: 'rows' }, 256, 768))).toMatchObject({ rows: 1, columns: 768 });
  expect(sparsityOf('nonsense').kind).toBe('none');
});

test('levels of detail reach from 4 x 4 weights to all of them, and take less than twice the tensor', () => {
  const levels = levelsOf(4096, 4097);
  expect(levels[0]).toEqual({ start: 0, side: 4, across: 1025, down: 1024 });
  expect(levels.at(-1)).toMatchObject({ across: 1, down: 1 });
  for (const [i, level] of levels.slice(1).entries()) {
    const below = levels[i]!;
    expect(level.start).toBe(below.start + below.across * below.down);
  }
  expect(pyramidBytes(levels)).toBeLessThan(2.1 * 4096 * 4097);
});

test('of a tensor that is too large for the device, whole rows are shown as far as they go', () => {
  const gpu = { bindingLimit: 2 ** 27, limits: { maxBufferSize: 2 ** 28 } };
  expect(rowsTogether(gpu, 4096)).toBe(8192);
  expect(rowsTogether({ ...gpu, bindingLimit: 1e6 }, 4096)).toBe(48);
  expect(rowsTogether({ ...gpu, bindingLimit: 1e6 }, 100_000)).toBe(2);
});

test('zooming leaves what is under the pointer where it is', () => {
  const shape = { width: 800, height: 500, rows: 1000, k: 2000 };
  let place = bounded({ column: 700, row: 400, zoom: 2 }, shape);
  const under = weightUnder(600, 200, place, shape);
  expect(under).toEqual({ column: 800, row: 375 });
  for (const factor of [3, 7, 0.5]) {
    place = zoomed(place, factor, 600, 200, shape);
    expect(weightUnder(600.4, 200.4, place, shape)).toEqual(under);
  }
  expect(weightUnder(0, 0, wholePlace(shape), shape)).toBeUndefined();
});

test('colours of magnitudes grow lighter evenly', () => {
  const linear = (x: number) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  // CIE L*, from luminance.
  const lightness = Array.from({ length: 65 }, (_, i) => {
    const [r, g, b] = magnitudeColour(i / 64).map(linear) as [number, number, number];
    return 116 * Math.cbrt(0.2126 * r + 0.7152 * g + 0.0722 * b) - 16;
  });
  const steps = lightness.slice(1).map((value, i) => value - lightness[i]!);
  // Viridis goes from 14 to 91: 1.2 for each of 64 steps.
  for (const step of steps) expect(Math.abs(step - 1.2)).toBeLessThan(0.5);
});

test('all of the landscape is in its frame and fills it, whatever way it is turned and whatever shape the frame has', () => {
  const extent = { side: 64, height: 20 };
  for (const aspect of [0.5, 1, 1.6, 3]) {
    for (const tilt of [0.12, 0.55, 1.5]) {
      const frame = { width: 300 * aspect, height: 300 };
      let reach = 0;
      for (let angle = 0; angle < 7; angle += 0.3) {
        const seen = cameraFor({ angle, tilt, nearness: 1 }, extent, aspect);
        for (const [x, z] of [
          [-1, -1],
          [-1, 1],
          [1, -1],
          [1, 1],
        ] as const) {
          for (const y of [0, extent.height]) {
            const [left, top] = onFrame([x * 32, y, z * 32], seen, frame)!;
            const [across, up] = [Math.abs(left / frame.width - 0.5), Math.abs(top / frame.height - 0.5)];
            expect(Math.max(across, up)).toBeLessThan(0.48);
            reach = Math.max(reach, across, up);
          }
        }
      }
      expect(reach).toBeGreaterThan(0.45);
    }
  }
});

test('heights have round numbers, some four of them', () => {
  expect(ticks(0.115)).toEqual([0, 0.05, 0.1]);
  expect(ticks(1.6)).toEqual([0, 0.5, 1, 1.5]);
  expect(ticks(4)).toEqual([0, 1, 2, 3, 4]);
  expect(ticks(0)).toEqual([0]);
});
