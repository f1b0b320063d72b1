import * as v from 'valibot';

const described = <const S extends v.GenericSchema>(schema: S, text: string) => v.pipe(schema, v.description(text));

const finite = (text: string) => v.pipe(v.number(), v.finite(), v.description(text));
const count = (text: string) => v.pipe(v.number(), v.integer(), v.minValue(0), v.description(text));
const name = (text: string) => v.pipe(v.string(), v.description(text));

const RateSchema = v.object({
  f32: finite('Tokens per second with linear matrices in f32: median over the rounds'),
  f16: v.nullable(
    finite('The same with those matrices stored in f16, where arithmetic stays f32; null: see the notes'),
  ),
  compressed: finite('The same of the compressed model'),
  ratio: finite(
    'Tokens per second of the compressed model divided by those of the faster of f32 and f16; above 1 is faster',
  ),
  interval: v.nullable(
    described(
      v.tuple([v.number(), v.number()]),
      '95% bootstrap interval of the ratio, over paired rounds; null where fewer than 6 were asked for',
    ),
  ),
});

const speedEntries = {
  prefill: described(RateSchema, 'Taking a prompt in: all its tokens at once, until the GPU has finished'),
  decode: described(
    RateSchema,
    'Writing behind that prompt as a caller of generate sees it: the most likely token is chosen on the GPU and read back; timed from the first token that comes out to the last',
  ),
  rounds: count('Interleaved rounds that were timed'),
  prefillTokens: count('Tokens of the prompt'),
  decodeTokens: count('Tokens that are written behind the first'),
};

const pair = (text: string) =>
  described(v.object({ original: count('Of the original'), compressed: count('Of the compressed model') }), text);

const TensorSchema = v.object({
  name: name('As the original calls it'),
  shape: described(v.array(v.number()), 'In the original'),
  format: name('How the compressed model stores it: a format, or an element type in lower case'),
  original: count('Bytes on disk in the original'),
  compressed: count('Bytes on disk in the compressed model'),
  onGpu: pair('Bytes on the GPU; 0 where the model does not load the tensor'),
  relativeError: v.nullable(
    finite(
      '‖W − Ŵ‖ / ‖W‖, Frobenius norms; null for tensors of integers, of different shapes or with values that are not finite, and where only one model was given',
    ),
  ),
  squaredError: v.nullable(finite('‖W − Ŵ‖²; null as the relative error')),
  nonFinite: pair('Values that are NaN or infinite as f32; with one model, those of the original'),
  sparsity: v.optional(
    described(
      v.object({
        zeros: finite('Share of the weights that are zero in the compressed model'),
        pattern: v.optional(
          described(v.string(), 'The N:M pattern that they have, such as 2:4; absent where they have none'),
        ),
        map: described(
          v.array(v.string()),
          'Where the others are: equal cells of the matrix, row by row, a hexadecimal digit each; 0: all weights of a cell are zero, f: none is',
        ),
        channels: described(
          v.string(),
          'What is read through the columns of each column of cells, by the root of the mean square of their weights, a hexadecimal digit each; 0: the least, f: the largest',
        ),
        least: finite('The least of those over the largest'),
        columns: described(
          v.array(v.number()),
          'The same of single columns over the largest of them, falling: at equal steps from the first to the last',
        ),
      }),
      'Of matrices of which at least a fifth is zero, where both models were given',
    ),
  ),
});

const unpaired = (text: string) =>
  described(v.array(v.object({ name: name('A tensor'), bytes: count('Bytes on disk') })), text);

const SizeSchema = v.object({
  original: count("Bytes on disk of the tensors that both models have, without their files' headers"),
  compressed: count('The same of the compressed model'),
  files: pair('Bytes of the files that hold the weights, headers included'),
  onGpu: pair('Bytes of weights on the GPU'),
  bitsPerWeight: v.object({
    all: finite('Bits on disk per weight of the compressed model'),
    withoutEmbeddings: finite('The same without embeddings and output head'),
  }),
  tensors: described(v.array(TensorSchema), 'Those that both models have'),
  unpaired: v.object({
    original: unpaired('Tensors that only the original has'),
    compressed: unpaired('Tensors that only the compressed model has'),
  }),
});

const MemorySchema = v.object({
  gpu: v.object({
    peak: count('Most bytes at a time; without the synthetic layers, which are left out where they do not fit'),
    weights: pair('Weights of each model as a whole, of which only the speed needs all at a time'),
    caches: count('Keys and values of one block, at most'),
    activations: count('Activations of one window in one block, or logits, at most'),
    stack: v.nullable(count('Bytes of the synthetic layers and their activations; null where they are not measured')),
  }),
  host: count('Most bytes at a time outside the GPU'),
});

const AccuracySchema = v.object({
  windows: count('Windows of held-out text'),
  window: count('Tokens of a window; the first is not scored'),
  perplexity: v.object({
    original: finite('exp of the mean negative natural-log likelihood a token; 1e299 also stands for what is larger'),
    compressed: v.nullable(finite('The same of the compressed model')),
    control: v.nullable(
      finite(
        'The same of the compressed model with the rows of its matrices shuffled, on the windows that `control` names; has to be far worse',
      ),
    ),
  }),
  increaseInterval: v.nullable(
    described(
      v.tuple([v.number(), v.number()]),
      '95% bootstrap interval of the increase of perplexity, as a fraction, over windows, of which each is drawn for both models; null with one model or fewer than 6 windows',
    ),
  ),
  control: v.nullable(
    described(
      v.object({
        windows: count('Its windows, from the first on'),
        window: count('Tokens of each, from the first on'),
        original: finite('Perplexity of the original on the same tokens'),
        ratio: finite('Perplexity of the control divided by that: what the check of this name measures'),
      }),
      'What the control is held to: it runs a part of the text. Null where it was not measured',
    ),
  ),
  kl: v.nullable(
    v.object({
      mean: finite('KL(original ‖ compressed) in nats a token'),
      p99: finite('Its 99th percentile over tokens'),
    }),
  ),
  top1Agreement: v.nullable(finite('Fraction of tokens for which both models put the same token first')),
  sensitivity: v.array(
    v.object({
      layer: v.nullable(count('Layer of the decoder; null: what belongs to none, such as embeddings')),
      lossIncrease: finite(
        'Increase of the mean negative log-likelihood with only this layer compressed, in nats a token',
      ),
    }),
  ),
});

const KernelsSchema = v.object({
  maxRelativeError: v.nullable(
    finite(
      'Largest error of a GPU logit against the f64 reference over the same dequantized weights, relative to the largest logit; null where a value was not finite',
    ),
  ),
  nonFinite: described(v.array(v.string()), 'Values that held NaN or infinity, in the order of computation'),
});

const CheckSchema = v.object({
  name: v.pipe(
    v.picklist(['finite weights', 'finite values', 'kernel error', 'finite logits', 'control']),
    v.description(
      'Weights that are NaN or infinite; the same of what the compressed model computes from its first tokens, and of the logits of both; kernels.maxRelativeError; the perplexity of the control divided by that of the original on the same tokens',
    ),
  ),
  passed: v.boolean(),
  measured: v.nullable(finite('Null where it was not finite: that fails')),
  bound: described(v.picklist(['at most', 'at least']), 'What the threshold is'),
  threshold: finite('The limit, which passes'),
});

const unlessTooLarge = (text: string) => v.nullable(described(RateSchema, text));

const SpeedSchema = v.object({
  ...speedEntries,
  prefill: unlessTooLarge('Of the model, as of the stack; null where the GPU does not hold it as a whole'),
  decode: unlessTooLarge('The same'),
  stack: v.nullable(
    described(
      v.object({ model: name('What was measured'), format: name('Of its linear matrices'), ...speedEntries }),
      'The same for a stack of two layers with the shapes of a 1B model and synthetic weights; null: see the notes',
    ),
  ),
  patterns: v.optional(
    described(
      v.array(
        v.object({
          format: name('Of packed weights'),
          dense: name('The format of their values, in which the dense weights are'),
          tensors: described(v.array(v.string()), 'The matrices of that format and size, which the verdict is about'),
          rows: count('Of each of them'),
          columns: count('Of the same'),
          tokens: count('Tokens of the product'),
          ratio: finite('Time of the dense product divided by that of the packed one: above 1 is faster'),
          interval: described(
            v.tuple([v.number(), v.number()]),
            '95% bootstrap interval of the ratio, over paired rounds',
          ),
          pays: described(v.boolean(), 'Whether the interval lies above 1'),
        }),
      ),
      'What packed weights buy on this device, by format and size, those with the most weights first; absent where there are none',
    ),
  ),
});

const points = (text: string) =>
  described(
    v.array(
      v.object({
        rank: count('How many of the largest singular values'),
        value: finite('The last of them, as a share of the largest'),
        kept: finite('Their share of the sum of squares of all: 1 − (relative error of that rank)²'),
      }),
    ),
    text,
  );

/** The singular values of a matrix. */
export const SpectrumSchema = v.object({
  name: name('As the original calls it'),
  shape: v.tuple([count('Rows'), count('Columns')]),
  pays: count('From this rank on factors have as many parameters as the matrix'),
  plain: points('Of the matrix'),
  whitened: v.nullable(points('Of the matrix weighed by its inputs; null where nothing shows them')),
});

const GateSchema = v.object({
  maxPerplexityIncrease: finite('Allowed increase, as a fraction'),
  increase: v.nullable(finite('Measured increase, as a fraction; null where the compressed model gives no numbers')),
  passed: v.boolean(),
  costliest: described(
    v.array(
      v.object({
        name: name('A tensor'),
        format: name('Its format now'),
        cost: finite("Share of its layer's loss increase, in nats a token"),
        next: v.nullable(name('The next larger format; null where there is none')),
      }),
    ),
    'The tensors that cost most, worst first',
  ),
});

/** What `verify` found. Version 1; what a run leaves out is null. */
export const ReportSchema = v.object({
  version: v.literal(1),
  device: v.object({
    name: v.string(),
    driver: v.optional(described(v.string(), 'Absent where it is not told')),
    vendor: v.string(),
    software: described(v.boolean(), 'Whether it computes on the CPU'),
  }),
  model: v.object({ original: v.string(), compressed: v.nullable(v.string()) }),
  size: SizeSchema,
  memory: described(MemorySchema, 'Estimates in bytes, made from the headers before the work began'),
  accuracy: v.nullable(AccuracySchema),
  kernels: v.nullable(KernelsSchema),
  speed: v.nullable(SpeedSchema),
  checks: described(
    v.array(CheckSchema),
    'What must hold whatever the models are, as far as it was measured; the command fails where one did not pass',
  ),
  gate: v.nullable(GateSchema),
  spectra: v.optional(
    described(
      v.array(
        v.object({ ...SpectrumSchema.entries, rank: v.nullable(count('Of the factors in the compressed model')) }),
      ),
      'Of the linear matrices of the original, where they were asked for',
    ),
  ),
  notes: described(v.array(v.string()), 'What was left out and why, and what to know about the comparison'),
});

/** What a verification found. */
export type Report = v.InferOutput<typeof ReportSchema>;
