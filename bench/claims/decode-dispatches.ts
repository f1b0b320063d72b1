import { bootstrapInterval, Decoder, generate, median, nodeFolder, openModel } from 'compressa';
import { type Claim, SAMPLE_MODEL } from '../claim.ts';

const TOKENS = 33;
const RUNS = 15;
/** Of the time of a token, what its pass does not take. */
const MOST_OUTSIDE = 0.2;

/**
 * What a decoded token of the sample model costs besides its kernels: how many are launched, and how much of the wall time from token to token, eight in flight, lies outside
 * the span from the first to the last timestamp of a pass over the same steps.
 */
export const claim: Claim = {
  name: 'a decoded token',
  async measure(gpu) {
    const model = await openModel(await nodeFolder(SAMPLE_MODEL), { gpu, dense: 'f16', maxPositions: 64 });
    try {
      const { decoder, graph } = model;
      const { batch, recording } = await decoder.record(1, { lastOnly: true });
      // One more chooses the token.
      const dispatches = batch.steps.length + 1;
      const most = 7 * graph.layers + 4;
      // Where caches are longer, GPUs split attention over them.
      const long = new Decoder(gpu, { ...graph, maxPositions: 4096 }, model.weights);
      const longest = (await long.record(1, { lastOnly: true })).batch.steps.length + 1;
      const { maxPositions } = long;
      long.release();
      const outside: number[] = [];
      for (let run = 0; run < RUNS; run++) {
        decoder.rewind();
        const tokens = generate(decoder, [1, 2, 3], { maxTokens: TOKENS });
        await tokens.next();
        const begin = performance.now();
        for await (const _ of tokens);
        const wall = (performance.now() - begin) / (TOKENS - 1);
        // As many passes as tokens: a mean beside a mean.
        let spans = 0;
        for (let token = 1; token < TOKENS; token++) spans += await spanOf(gpu, recording);
        outside.push(1 - spans / (TOKENS - 1) / wall);
      }
      const shares = outside.slice(1);
      const [low, high] = bootstrapInterval(shares);
      return [
        {
          claim: `dispatches of a token, ${graph.layers} layers`,
          threshold: `at most ${most}`,
          measured: String(dispatches),
          pass: dispatches <= most,
        },
        {
          claim: `the same with caches for ${maxPositions} positions, which models of long texts get`,
          threshold: `at most ${most}`,
          measured: String(longest),
          pass: longest <= most,
        },
        {
          claim: "share of a token's wall time outside its pass",
          threshold: `at most ${100 * MOST_OUTSIDE}% at the upper end of the interval`,
          measured: `${percent(median(shares))} (95%: ${percent(low)} to ${percent(high)})`,
          pass: high <= MOST_OUTSIDE,
        },
      ];
    } finally {
      await model.close();
    }
  },
};

const percent = (share: number) => `${(100 * share).toFixed(1)}%`;

/** Milliseconds from the first to the last timestamp of a pass. */
async function spanOf(
  gpu: Parameters<Claim['measure']>[0],
  recording: { encode(pass: GPUComputePassEncoder): void },
): Promise<number> {
  const querySet = gpu.device.createQuerySet({ type: 'timestamp', count: 2 });
  const resolved = gpu.device.createBuffer({ size: 16, usage: 0x200 | 0x04 }); // QUERY_RESOLVE | COPY_SRC
  try {
    const encoder = gpu.device.createCommandEncoder();
    const pass = encoder.beginComputePass({
      timestampWrites: { querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 },
    });
    recording.encode(pass);
    pass.end();
    encoder.resolveQuerySet(querySet, 0, 2, resolved, 0);
    gpu.device.queue.submit([encoder.finish()]);
    const [first, last] = new BigUint64Array((await gpu.readBack(resolved)).buffer);
    return Number(last! - first!) / 1e6;
  } finally {
    querySet.destroy();
    resolved.destroy();
  }
}
