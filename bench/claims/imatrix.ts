import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { graphOf, type Imatrix, memorySink, openPath, readImatrix, writeImatrix } from 'compressa';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';
import { readLlamaImatrix } from '../peers/imatrix.ts';
import { random } from '../random.ts';

/** No power of two, so that sums are rounded. */
const CHUNKS = 12;
const CHUNK = 250;

/** The name in GGUF, by llama.cpp's own list (`LLM_TENSOR_NAMES`). */
const PARTS: Readonly<Record<string, string>> = {
  q_proj: 'attn_q',
  k_proj: 'attn_k',
  v_proj: 'attn_v',
  o_proj: 'attn_output',
  gate_proj: 'ffn_gate',
  up_proj: 'ffn_up',
  down_proj: 'ffn_down',
};
const ggufNameOf = (name: string): string => {
  const [, layer, part] = /layers\.(\d+)\.\w+\.(\w+)\.weight/.exec(name)!;
  return `blk.${layer}.${PARTS[part!]}.weight`;
};

/** An importance matrix that Compressa writes says the same to llama.cpp's own reader, and to Compressa's. */
export const claim: Claim = {
  name: 'imatrix',
  async measure() {
    const graph = graphOf(JSON.parse(await readFile(`${SAMPLE_MODEL}/config.json`, 'utf8')), 'config.json');
    const linear = graph.weights.filter(({ role }) => role === 'linear');
    const next = random(3);
    const importance = new Map(
      linear.map(({ name, shape }) => [name, Float32Array.from({ length: shape[1]! }, () => next() ** 8)]),
    );
    const imatrix: Imatrix = { importance, datasets: ['calibration.txt'], chunkCount: CHUNKS, chunkSize: CHUNK };
    const folder = await mkdtemp(join(tmpdir(), 'compressa-imatrix-'));
    const path = join(folder, 'sample.imatrix.gguf');
    try {
      const sink = memorySink(path);
      await writeImatrix(sink, imatrix);
      await writeFile(path, sink.bytes());
      const theirs = readLlamaImatrix(path);
      if (typeof theirs === 'string') {
        return [{ claim: 'imatrix', threshold: 'llama.cpp is there', measured: theirs, pass: false }];
      }
      const source = await openPath(path);
      const ours = await readImatrix(source, graph.weights);
      await source.close();
      let [same, back, worst] = [0, 0, 0];
      for (const [name, means] of importance) {
        const entry = theirs.entries.get(ggufNameOf(name));
        const sums = means.map((x) => x * CHUNKS * CHUNK);
        const [count] = entry?.counts ?? [];
        if (count === BigInt(CHUNKS * CHUNK) && String(entry?.sums) === String(sums)) same++;
        const again = ours.importance.get(name)!;
        // What llama.cpp hands to its quantizer is the quotient in f32.
        if (entry?.sums.every((sum, i) => Math.fround(sum / Number(count)) === again[i])) back++;
        for (const [i, x] of means.entries()) if (x > 0) worst = Math.max(worst, Math.abs(again[i]! / x - 1));
      }
      const head = [theirs.entries.size, theirs.datasets, theirs.chunkCount, theirs.chunkSize];
      const results: Measurement[] = [
        {
          claim: 'matrices, texts and chunks that llama.cpp finds',
          threshold: `${linear.length}, calibration.txt, ${CHUNKS} of ${CHUNK}`,
          measured: `${head[0]}, ${head[1]}, ${head[2]} of ${head[3]}`,
          pass: String(head) === String([linear.length, 'calibration.txt', CHUNKS, CHUNK]),
        },
        {
          claim: 'matrices whose sums and counts are the same numbers to llama.cpp',
          threshold: 'all',
          measured: `${same} of ${linear.length}`,
          pass: same === linear.length,
        },
        {
          claim: 'matrices of which we read what llama.cpp would quantize with',
          threshold: 'all, within 2^-23 of what was written',
          measured: `${back} of ${linear.length}, ${worst.toExponential(2)}`,
          pass: back === linear.length && worst <= 2 ** -23,
        },
      ];
      return results;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};
