import { readFileSync } from 'node:fs';
import { cutWindows, Decoder, graphOf, loadWeights, nodeFolder, openCheckpoint, scoreWindows } from 'compressa';
import { type Claim, SAMPLE_MODEL } from '../claim.ts';

/** The uncompressed sample model gives the figures of the independent implementation, by its protocol. */
export const claim: Claim = {
  name: 'dense accuracy',
  async measure(gpu) {
    const reference = JSON.parse(readFileSync(`${SAMPLE_MODEL}/REFERENCE.json`, 'utf8'));
    const checkpoint = await openCheckpoint(await nodeFolder(SAMPLE_MODEL));
    const graph = graphOf(checkpoint.config, `${SAMPLE_MODEL}/config.json`);
    const weights = await loadWeights(gpu, checkpoint, graph);
    const decoder = new Decoder(gpu, graph, weights);
    const bytes = readFileSync(`${SAMPLE_MODEL}/validation.tokens.u16`);
    const tokens = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
    const { perplexity } = await scoreWindows(decoder, decoder, cutWindows(tokens, { windows: 16 }));
    const expected: number = reference.dense.perplexity16;
    const deviation = Math.abs(perplexity.original / expected - 1);

    decoder.rewind();
    const prompt: number[] = reference.prompt.tokens;
    const { logits } = await decoder.forward(prompt);
    const values = new Float32Array(
      (await gpu.readBack(logits.buffer, 0, prompt.length * graph.vocabulary * 4)).buffer,
    );
    decoder.release();
    for (const weight of weights.values()) weight.release();
    await checkpoint.close();
    const last = values.subarray((prompt.length - 1) * graph.vocabulary);
    const top: [number, number][] = reference.prompt['last position, f64'].top10;
    const worst = Math.max(...top.map(([id, value]) => Math.abs(last[id]! - value)));
    return [
      {
        claim: `perplexity over 16 windows against ${expected}`,
        threshold: 'within 0.1%',
        measured: `${perplexity.original.toFixed(4)}, off by ${(100 * deviation).toFixed(4)}%`,
        pass: deviation <= 0.001,
      },
      {
        claim: 'ten largest logits of the prompt',
        threshold: 'within 1e-3',
        measured: worst.toExponential(2),
        pass: worst <= 1e-3,
      },
    ];
  },
};
