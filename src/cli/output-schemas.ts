import * as v from 'valibot';
import { METHODS } from '../passes/methods/method.ts';
import { REPAIRS, SCORES } from '../passes/pruning/pruning.ts';
import { RecipeSchema, ROLES } from '../passes/recipe-schema.ts';
import { STRUCTURES } from '../passes/shrinking/shrinking.ts';
import { TuningSchema } from '../tuner/store.ts';
import { SpectrumSchema } from '../verify/report-schema.ts';

// What the commands print with --json, besides `verify`, whose report has a schema of its own.

const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const rate = v.pipe(v.number(), v.minValue(0));
const version = v.literal(1);

const sizes = {
  tensors: v.array(
    v.strictObject({
      name: v.string(),
      shape: v.array(count),
      role: v.picklist(ROLES),
      format: v.string(),
      method: v.optional(v.picklist(METHODS)),
      bytesBefore: count,
      bytesAfter: count,
      error: v.optional(v.strictObject({ rtn: rate, chosen: rate })),
      prune: v.optional(
        v.strictObject({
          pattern: v.string(),
          score: v.picklist(SCORES),
          repair: v.picklist(REPAIRS),
          sparsity: v.optional(rate),
          error: v.optional(rate),
        }),
      ),
      factors: v.optional(v.strictObject({ rank: v.nullable(count), residual: v.boolean(), error: v.optional(rate) })),
    }),
  ),
  bytesBefore: count,
  bytesAfter: count,
  bitsPerWeight: v.strictObject({ all: rate, withoutEmbeddings: rate }),
  notices: v.array(v.string()),
};

const matrix = v.nullable(v.strictObject({ shape: v.tuple([count, count]), format: v.string() }));
const milliseconds = v.strictObject({ before: rate, after: rate });

const shrink = v.optional(
  v.array(
    v.strictObject({
      structure: v.picklist(STRUCTURES),
      layer: v.optional(count),
      units: count,
      removed: v.array(count),
      importance: v.array(v.number()),
      error: v.optional(rate),
    }),
  ),
);

/** `compress --json` and `prune --json`; with `--dry-run` it is the plan. */
export const CompressOutputSchema = v.union([
  v.strictObject({
    ...{ version, recipe: RecipeSchema, ...sizes, seconds: rate, output: v.string() },
    shrink,
  }),
  v.strictObject({
    version,
    dryRun: v.literal(true),
    ...sizes,
    memory: v.strictObject({ host: count, gpu: count, weights: count }),
    masks: v.optional(
      v.array(
        v.strictObject({
          name: v.string(),
          pattern: v.string(),
          zeros: rate,
          map: v.array(v.string()),
          channels: v.string(),
          least: rate,
          columns: v.array(rate),
        }),
      ),
    ),
    seconds: v.optional(rate),
    shrink,
    time: v.optional(
      v.strictObject({
        products: v.array(
          v.strictObject({
            ...{ tensors: v.array(v.string()), before: matrix, after: matrix, milliseconds },
            ...{ ratio: v.nullable(rate), interval: v.nullable(v.tuple([rate, rate])), pays: v.nullable(v.boolean()) },
          }),
        ),
        milliseconds: v.pipe(
          milliseconds,
          v.description('Of all products of a token; attention and norms are not in it'),
        ),
      }),
    ),
  }),
]);

/** `factorize --json` */
export const FactorizeOutputSchema = v.strictObject({
  version,
  output: v.string(),
  matrices: v.array(
    v.strictObject({ name: v.string(), shape: v.tuple([count, count]), rank: v.nullable(count), error: rate }),
  ),
  parameters: v.strictObject({ before: count, after: count }),
  bytesBefore: count,
  bytesAfter: count,
  bitsPerWeight: v.strictObject({ all: rate, withoutEmbeddings: rate }),
  notices: v.array(v.string()),
  seconds: rate,
});

/** `svd --json` */
export const SvdOutputSchema = v.strictObject({
  version,
  output: v.string(),
  rank: count,
  tensors: v.array(
    v.strictObject({ name: v.string(), shape: v.tuple([count, count]), singularValues: v.array(v.number()) }),
  ),
  seconds: rate,
});

/** `lora extract --json` */
export const LoraExtractOutputSchema = v.strictObject({
  version,
  output: v.string(),
  rank: count,
  modules: v.array(
    v.strictObject({ module: v.string(), rank: count, shape: v.tuple([count, count]), change: rate, error: rate }),
  ),
  notices: v.array(v.string()),
  seconds: rate,
});

/** `lora resize --json` */
export const LoraResizeOutputSchema = v.strictObject({
  version,
  output: v.string(),
  rank: count,
  modules: v.array(v.strictObject({ module: v.string(), before: count, rank: count, error: rate })),
  seconds: rate,
});

/** `inspect --json`; tensors that `--histogram` names have values, matrices that `--spectrum` names spectra. */
export const InspectOutputSchema = v.strictObject({
  version,
  name: v.string(),
  bytes: count,
  weights: count,
  bitsPerWeight: rate,
  tensors: v.array(
    v.strictObject({
      name: v.string(),
      shape: v.array(count),
      format: v.string(),
      bytes: count,
      bitsPerWeight: rate,
      values: v.optional(
        v.strictObject({
          count,
          nonFinite: count,
          min: v.number(),
          max: v.number(),
          mean: v.number(),
          std: rate,
          histogram: v.array(count),
        }),
      ),
    }),
  ),
  spectra: v.optional(v.array(SpectrumSchema)),
});

/** `device --json`; without `measured` where it was not to measure. */
export const DeviceOutputSchema = v.strictObject({
  version,
  device: v.strictObject({
    vendor: v.string(),
    architecture: v.string(),
    device: v.string(),
    description: v.string(),
    software: v.boolean(),
    features: v.array(v.string()),
    limits: v.record(v.string(), count),
    selfTest: v.record(v.string(), v.boolean()),
  }),
  measured: v.optional(
    v.strictObject({
      copyGigabytesPerSecond: rate,
      f32GigaOperationsPerSecond: rate,
      f16GigaOperationsPerSecond: v.nullable(rate),
      i8GigaOperationsPerSecond: v.nullable(rate),
      dispatchMicroseconds: rate,
      submitMicroseconds: rate,
      readBackMicroseconds: rate,
    }),
  ),
  tuned: v.pipe(
    v.array(v.strictObject({ shape: v.string(), ...TuningSchema.entries })),
    v.description('What tuning chose on this device, by class of shapes'),
  ),
});

/** `run --json`: a prompt, or with `--chat` the messages. */
export const RunOutputSchema = v.strictObject({
  version,
  model: v.string(),
  prompt: v.optional(v.string()),
  messages: v.optional(v.array(v.strictObject({ role: v.string(), content: v.string() }))),
  sampling: v.strictObject({ temperature: rate, topK: count, topP: rate }),
  seed: count,
  promptTokens: v.array(count),
  tokens: v.array(count),
  text: v.string(),
  reason: v.picklist(['stop-token', 'max-tokens', 'cache-full']),
  firstTokenSeconds: rate,
  tokensPerSecond: v.nullable(rate),
});
