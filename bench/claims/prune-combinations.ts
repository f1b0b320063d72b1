import {
  compress,
  cutWindows,
  type Gpu,
  memoryFolder,
  memoryOutput,
  nodeFolder,
  openCheckpoint,
  openModel,
  type Recipe,
  type Rule,
  verify,
} from 'compressa';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';
import { sampleTokens } from '../model-quality.ts';

/** Each kind of pattern, as `prune --pattern` takes it; packed where that is possible. */
const PATTERNS: Readonly<Record<string, { readonly pattern: string; readonly packed?: true }>> = {
  'n:m': { pattern: '2:4', packed: true },
  vector: { pattern: '2:4x8', packed: true },
  block: { pattern: 'block:16x16:25%', packed: true },
  unstructured: { pattern: '40%@row' },
  ffn: { pattern: 'ffn:25%' },
  heads: { pattern: 'heads:1' },
  layers: { pattern: 'layers:1' },
};
const FORMATS = ['q8_0', 'q4_0', 'int4'];
/** The share of weights that a pattern of zeros leaves zero at least; rounding makes more of them. */
const ZEROS: Readonly<Record<string, number>> = { 'n:m': 0.5, vector: 0.5, block: 0.24, unstructured: 0.39 };
/** Tokens that each model generates. */
const GENERATED = 12;

/** Of scoring, so that all combinations take minutes: windows, and tokens of each. */
const WINDOWS = 2;
const WINDOW = 128;
/** Of the kernels' error against the f64 reference, relative to the largest logit. */
const KERNELS = 1e-4;
/** A model that computes at all is far below the perplexity of one whose rows are shuffled. */
const CONTROL = 3;

const recipeOf = ({ pattern, packed }: (typeof PATTERNS)[string], format: string): Recipe => {
  const rule: Rule = { match: '*', role: 'linear', format, method: 'rtn' };
  const shrinks = /^(ffn|heads|layers):/.test(pattern);
  if (shrinks) return { version: 1, rules: [rule], shrink: { pattern } };
  return { version: 1, rules: [{ ...rule, prune: { pattern, ...(packed && { packed }) } }] };
};

/** Every kind of pattern in every format: pruned, quantized, written, opened, run and verified, beside a control. Parts: `n:m q4_0`, say, a pattern or a format. */
export const claim: Claim = {
  name: 'prune combinations',
  async *measure(gpu, takes) {
    for (const [kind, how] of Object.entries(PATTERNS)) {
      for (const format of FORMATS) {
        if ([kind, format, `${kind} ${format}`].some(takes)) yield await combination(gpu, kind, how, format);
      }
    }
  },
};

async function combination(
  gpu: Gpu,
  kind: string,
  how: (typeof PATTERNS)[string],
  format: string,
): Promise<Measurement> {
  const output = memoryOutput();
  const recipe = recipeOf(how, format);
  // Which layer changes its input least shows on a text only.
  const calibration = kind === 'layers' && {
    calibration: { windows: cutWindows(sampleTokens('calibration'), { windows: 4 }) },
  };
  const report = await compress(await nodeFolder(SAMPLE_MODEL), output, { gpu, recipe, ...calibration });
  const original = await openCheckpoint(await nodeFolder(SAMPLE_MODEL));
  const pruned = await openCheckpoint(memoryFolder('pruned', Object.fromEntries(output.files)));
  try {
    const tokens = sampleTokens('validation');
    const { accuracy, kernels, size } = await verify(original, pruned, {
      ...{ gpu, tokens, windows: WINDOWS, window: WINDOW, speed: false },
    });
    const { original: dense, compressed, control } = accuracy!.perplexity;
    const worst = kernels?.maxRelativeError ?? Number.POSITIVE_INFINITY;
    const sparse = report.tensors.filter(({ format: of }) => of.includes('@')).length;
    const stored = how.packed ? sparse > 0 : sparse === 0;
    const bytes = report.bytesAfter / report.bytesBefore;
    const zeros = new Map(size.tensors.map(({ name, sparsity }) => [name, sparsity?.zeros ?? 0]));
    const least = Math.min(...report.tensors.flatMap(({ name, prune }) => (prune ? zeros.get(name)! : [])));
    const remain = ZEROS[kind] === undefined || least >= ZEROS[kind];
    const model = await openModel(memoryFolder('pruned', Object.fromEntries(output.files)), { gpu });
    const { tokens: written } = await model.complete('My fellow citizens', {
      maxTokens: GENERATED,
      stopTokens: new Set(),
    });
    await model.close();
    return {
      claim: `${kind} (${how.pattern}), ${format}${how.packed ? ', packed' : ''}`,
      threshold: `kernels within ${KERNELS} of f64, perplexity at most 1/${CONTROL} of the control's, smaller, zeros as chosen, ${GENERATED} tokens generated`,
      measured: `${worst.toExponential(1)}, ${compressed!.toFixed(2)} (dense ${dense.toFixed(2)}, control ${control!.toFixed(0)}), ${bytes.toFixed(3)} of the bytes${Number.isFinite(least) ? `, ${(100 * least).toFixed(1)}% zeros or more` : ''}, ${written.length} tokens`,
      pass:
        worst <= KERNELS &&
        CONTROL * compressed! <= control! &&
        bytes < 1 &&
        stored &&
        remain &&
        written.length === GENERATED,
    };
  } finally {
    await Promise.all([original.close(), pruned.close()]);
  }
}
