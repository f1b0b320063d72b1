import { bootstrapInterval, median } from 'compressa';
import { blankWeights } from '../blank-weights.ts';
import type { Claim, Measurement } from '../claim.ts';
import { openOnnxEncoder } from '../peers/onnx-encoder.ts';
import { openPeersPage } from '../peers-page/open.ts';
// The page itself runs in the browser.
import type { Compared } from '../peers-page/page.ts';
import { PRODUCTS } from '../products.ts';

const FORMAT = 'int4-g32-f32';
const SIZE = 4096;
const TOKENS = [1, 16, 128];
const SQUARE = 1024;
const FLOOR = 1.3;
/** `COMPRESSA_PAIRS=3` for a first look. */
const PAIRS = Number(process.env.COMPRESSA_PAIRS ?? 15);
/** `COMPRESSA_CASES=1,16,tfjs` for some only: numbers of tokens, or TensorFlow.js. */
const ONLY = process.env.COMPRESSA_CASES?.split(',');
/** Most milliseconds for one case. */
const ANSWER = 3_600_000;
/** Distance to the f64 reference, relative to its size: level 4 rounds inputs to int8 before each product. */
const MOST_ERROR = { ours: 1e-4, theirs: 0.06 };

/**
 * Products in headless Chromium, on its SwiftShader, against onnxruntime-web (four-bit weights, at the accuracy level that takes it less time)
 * and TensorFlow.js (f32), on one device. Eight products follow each other, each with a weight of its own; inputs, outputs and weights stay on
 * the device. A time goes from the call to the end of the device's work.
 */
export const claim: Claim = {
  name: 'over peers in the browser',
  async *measure() {
    const encoder = openOnnxEncoder();
    const opened = typeof encoder === 'string' ? encoder : await openPeersPage(ANSWER, progress);
    if (typeof encoder === 'string' || typeof opened === 'string') {
      yield { claim: 'peers', threshold: 'are there', measured: String(opened), pass: false };
      return;
    }
    const { page } = opened;
    try {
      for (const tokens of TOKENS.filter((each) => !ONLY || ONLY.includes(`${each}`))) {
        progress(`${FORMAT}, ${tokens} tokens`);
        const weights = blankWeights(FORMAT, SIZE, PRODUCTS);
        const models = ([0, 4] as const).map((level) => {
          const { bytes } = encoder.products(weights, { size: SIZE, tokens, accuracy: level });
          return { level, bytes: [...bytes] };
        });
        const job = { format: FORMAT, size: SIZE, tokens, pairs: PAIRS, models };
        const compared = await page.evaluate((given) => window.overOnnxRuntime(given), job);
        yield judge(`${FORMAT} ${SIZE}x${SIZE}, ${tokens} tokens`, compared);
      }
      if (!ONLY || ONLY.includes('tfjs')) {
        progress('TensorFlow.js');
        const compared = await page.evaluate((given) => window.overTfjs(given), { size: SQUARE, pairs: PAIRS });
        yield judge(`f32 ${SQUARE}x${SQUARE}x${SQUARE}`, compared);
      }
    } catch (cause) {
      throw new Error(`${String(cause)}\nThe page last said:\n${opened.said()}`, { cause });
    } finally {
      await opened.close();
    }
  },
};

/** A case takes minutes: what the page is at, as it comes. */
function progress(stage: string): void {
  console.error(`  ${new Date().toTimeString().slice(0, 8)}  ${stage}`);
}

function judge(what: string, { peer, variant, ours, theirs, errors }: Compared): Measurement {
  const ratios = ours.map((time, i) => theirs[i]! / time);
  const [low, high] = bootstrapInterval(ratios);
  const each = (values: readonly number[]) => `${(median(values) / PRODUCTS).toFixed(2)} ms`;
  const right = errors.ours <= MOST_ERROR.ours && errors.theirs <= MOST_ERROR.theirs;
  const times = `95%: ${low.toFixed(2)} to ${high.toFixed(2)}; ${each(ours)} and ${each(theirs)}`;
  return {
    claim: `${what} (${variant}) over ${peer}`,
    threshold: `at least ${FLOOR}x`,
    measured: right
      ? `${median(ratios).toFixed(2)} (${times})`
      : `wrong by ${errors.ours.toExponential(2)} (ours) and ${errors.theirs.toExponential(2)}`,
    pass: right && low >= FLOOR,
  };
}
