import { createHash } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runWith, swiftShaderEnvironment } from '../../src/cli/software-vulkan.ts';
import { openCheckpoint } from '../../src/files/checkpoint.ts';
import { memoryFolder } from '../../src/files/model-files.ts';
import { nodeFolder } from '../../src/files/node-files.ts';
import { memoryOutput } from '../../src/files/sink.ts';
import { formatByName } from '../../src/formats/registry.ts';
import { ReferenceRun } from '../../src/graph/reference.ts';
import { readModel } from '../../src/model.ts';
import { compress } from '../../src/passes/compress.ts';
import { dequantizedWeights } from '../../src/passes/load-weights.ts';
import type { Tuning } from '../../src/tuner/store.ts';
import { openTestGpu } from '../gpu/open-test-gpu.ts';
// The page itself runs in the browser.
import type { CalibratedJob } from './browser/page.ts';
import { sampleValues } from './browser/sample-values.ts';
import { openServedPage, SAMPLE } from './served-page.ts';

const PROMPT = 'My fellow citizens';
const TOKENS = 16;

const served = openServedPage('browser', 400_000);

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

test('compresses a model from HTTP to the bytes that Node makes, and writes a sentence', async () => {
  const inPage = await served.ask(
    served.page.evaluate((...given) => window.compressAndWrite(...given), served.url, PROMPT, TOKENS),
  );

  const gpu = await openTestGpu();
  const output = memoryOutput();
  try {
    await compress(await nodeFolder(SAMPLE), output, { gpu, format: 'q4_0' });
  } finally {
    gpu.close();
  }
  const files = memoryFolder('compressed', Object.fromEntries(output.files));
  const checkpoint = await openCheckpoint(files);
  const tensors: Record<string, string> = {};
  for (const [name, info] of checkpoint.tensors) tensors[name] = sha256(await checkpoint.read(info));
  await checkpoint.close();
  // Codes and scales are bit-equal to the CPU reference on every driver, so two drivers agree. First what is easier to read.
  expect(inPage.tensors).toEqual(tensors);
  expect(inPage.files).toEqual(Object.fromEntries([...output.files].map(([name, bytes]) => [name, sha256(bytes)])));

  // Logits are not: where two tokens are nearly as likely, drivers may differ. So each token has to be the f64 reference's own
  // choice after those before it, or as likely to within what kernels may be off.
  const model = await readModel(files);
  const reference = new ReferenceRun(model.graph, await dequantizedWeights(model.checkpoint, model.graph));
  await model.checkpoint.close();
  expect(inPage.tokens).toHaveLength(TOKENS);
  expect(inPage.promptTokens).toEqual(model.tokenizer!.encode(PROMPT));
  const behind: number[] = [];
  let next = [...inPage.promptTokens];
  for (const token of inPage.tokens) {
    const logits = reference.forward(next).slice(-model.graph.vocabulary);
    behind.push(Math.max(...logits) - logits[token]!);
    next = [token];
  }
  expect(Math.max(...behind)).toBeLessThan(1e-3);
  expect(inPage.pieces.join('')).toBe(model.tokenizer!.decode(inPage.tokens, { skipSpecial: true }));
  expect(inPage.pieces.join('')).toMatch(/\w+ \w+/);
  expect(inPage.memory[1]).toBe(inPage.memory[0]);
});

test('what is calibrated, factored and pruned has the bytes in the browser that it has in Node, on the same driver', async () => {
  const rule = (match: string, format: string, method: 'gptq' | 'awq') => ({ match, format, method });
  const job: CalibratedJob = {
    recipe: {
      version: 1,
      rules: [
        rule('model.layers.0.self_attn.*', 'int4-g64-asym', 'gptq'),
        rule('model.layers.0.mlp.{gate,up}_proj.weight', 'int3-g64', 'awq'),
        { match: 'model.layers.0.mlp.down_proj.weight', format: 'keep', factorize: { rank: 24 } },
        {
          match: 'model.layers.1.self_attn.{k,v}_proj.weight',
          ...{ format: 'keep', prune: { pattern: '2:4', score: 'obs', repair: 'obs' } },
        },
      ],
    },
    text: await readFile(`${SAMPLE}/calibration.txt`, 'utf8'),
    windows: 2,
    window: 48,
  };
  const inPage = await served.ask(
    served.page.evaluate((...given) => window.compressCalibrated(...given), served.url, job),
  );

  // The browser computes on its own SwiftShader: so does the command.
  const [recipe, out] = [join(served.folder, 'recipe.json'), join(served.folder, 'in-node')];
  await writeFile(recipe, JSON.stringify(job.recipe));
  const args = [
    '--calibration',
    `${SAMPLE}/calibration.txt`,
    '--windows',
    `${job.windows}`,
    '--window',
    `${job.window}`,
  ];
  const command = ['dist/cli/main.js', 'compress', SAMPLE, '-o', out, '--recipe', recipe, ...args];
  expect(await runWith(process.execPath, command, await swiftShaderEnvironment())).toBe(0);
  const inNode: Record<string, string> = {};
  for (const file of await readdir(out)) inNode[file] = sha256(await readFile(join(out, file)));
  expect(Object.keys(inNode)).toContain('model.safetensors');
  expect(inPage).toEqual(inNode);
});

test('computes on a device that the page brings, without a read-back, and leaves it alone', async () => {
  const [rows, k] = [96, 256];
  const { readBacks, y, alive } = await served.ask(
    served.page.evaluate((...given) => window.onBroughtDevice(...given), rows, k),
  );
  const { reference } = formatByName('q4_0');
  const weights = reference.dequantize(reference.quantize(sampleValues(rows * k), rows, k), rows, k);
  const x = sampleValues(k);
  const expected = Array.from({ length: rows }, (_, row) =>
    x.reduce((sum, value, i) => sum + value * weights[row * k + i]!, 0),
  );
  expect(y).toHaveLength(rows);
  // Sums of 256 products of at most 1/4, in f32.
  for (const [row, value] of expected.entries()) expect(Math.abs(y[row]! - value)).toBeLessThan(1e-5);
  expect(readBacks).toBe(0);
  expect(alive).toBe(true);
});

test('choices of a tuner are kept in the browser: by device, what is well formed, whoever saves at the same time', async () => {
  const tuning = (variant: string): Tuning => ({
    ...{
      variant,
      kernels: 'hash',
      mode: 'quick',
      clear: true,
      contests: 1,
      seconds: { [variant]: 0.25, 'tile-4': 1.5 },
    },
  });
  const loaded = await served.ask(
    served.page.evaluate((given) => window.keepTunings(given), [
      ['one', 'a', tuning('vector-1')],
      ['one', 'b', tuning('tile-8')],
      ['other', 'a', tuning('broadcast-8')],
      ['one', 'c', { variant: 7 } as never],
      ['one', 'a', tuning('vector-2')],
    ] satisfies [string, string, Tuning][]),
  );
  expect(loaded).toEqual({
    one: [
      ['a', tuning('vector-2')],
      ['b', tuning('tile-8')],
    ],
    other: [['a', tuning('broadcast-8')]],
  });
});
