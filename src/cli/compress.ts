import { type Command, Option } from 'commander';
import { ArgumentError } from '../errors.ts';
import { ggufFormats } from '../files/gguf/checkpoint.ts';
import { openPath } from '../files/node-files.ts';
import { refuseReplacing } from '../files/node-same-files.ts';
import { formatAliases, formats } from '../formats/registry.ts';
import { readStatistics } from '../passes/calibration/read-statistics.ts';
import type { RecipeOptions } from '../passes/compress-options.ts';
import { containerByName } from '../passes/containers.ts';
import { METHODS, methodByName } from '../passes/methods/method.ts';
import { ggmlPresets } from '../passes/presets/ggml-presets.ts';
import { parseRecipeText } from '../passes/recipe.ts';
import type { Rotation } from '../passes/rotation/rotation.ts';
import { type CalibrationOptions, readCalibration } from './calibration.ts';
import { adapterOption, type GpuOptions, gpuMemoryOption, parseSize } from './gpu-options.ts';
import { interruptSignal } from './interrupt.ts';
import { openImatrix } from './open-imatrix.ts';
import { outputKind } from './output-kind.ts';
import { wholeNumber } from './text.ts';
import { type TuneOptions, tuneOption } from './tune-option.ts';
import { writeModel } from './write-model.ts';

export interface CompressCommandOptions extends GpuOptions, TuneOptions, CalibrationOptions {
  readonly out: string;
  readonly format?: string;
  readonly recipe?: string;
  readonly method?: string;
  readonly refine?: string;
  readonly container?: string;
  readonly unpack?: boolean;
  readonly statistics?: string;
  readonly rotate?: boolean | number;
  readonly rotateInner?: boolean;
  readonly imatrix?: string;
  readonly overwrite?: boolean;
  readonly resume?: boolean;
  /** Bytes. */
  readonly shardSize?: number;
  readonly json?: boolean;
  readonly dryRun?: boolean;
}

/** Most bytes of a recipe file: hand-written ones have a few hundred. */
const MAX_RECIPE_BYTES = 1024 * 1024;

const HELP = `
Formats: ${formats.map((format) => format.name).join(', ')}
Short names: ${Object.entries(formatAliases)
  .map(([alias, name]) => `${alias} (${name})`)
  .join(', ')}

Presets of llama.cpp, for all matrices: ${ggmlPresets.map((preset) => preset.name).join(', ')}

GGUF files hold: ${[...ggufFormats.keys()].map((format) => format.name).join(', ')}
"--format keep" leaves every weight as it is, to write a model into another kind of file.

A recipe is a JSON file: {"version": 1, "rules": [{"match": "*.mlp.*", "format": "q4_0"}]}. The first rule that
matches a matrix decides its format, "keep" leaves it alone; a rule may also ask for a "role" (linear, embedding, head)
and name a "method": rtn rounds to nearest, search looks for scales of least error, hqq moves zero points that are
floats, gptq also makes up for what each column loses in those that follow; awq and smoothquant scale channels first.
"factorize": {"rank": 32, "residual": true} keeps what the format has lost as factors, {"keep": 0.8} makes the matrix a product
of two. "prune" in a rule, and "shrink" beside the rules, are as in "compressa prune --help". "rotation": {"seed": 1, "inner":
false} rotates the model first. With a calibration text, errors count as the inputs of a matrix weigh them. All keys are in
schemas/recipe.schema.json. A format by itself means: all linear matrices; embeddings, output head and norms stay as they are.

Examples:
  $ compressa compress models/union-7m -o out/union-q4
  $ compressa compress models/union-7m -o out/union-int4 --format int4-g64-asym
  $ compressa compress models/union-7m -o out/union-q4_k --format q4_k --method gptq --calibration models/union-7m/calibration.txt
  $ compressa compress my-model -o out/mixed --recipe recipe.json --dry-run
  $ compressa compress models/union-7m -o out/union-q4.gguf
  $ compressa compress out/union-q4.gguf -o out/union-q4 --format keep
  $ compressa compress my-model -o out/large --shard-size 2GB --resume
  $ compressa compress tensors.safetensors -o out/tensors.safetensors --format q8_0 --json > report.json
`;

export function registerCompress(program: Command): void {
  program
    .command('compress')
    .argument('<model>', 'a Hugging Face folder, a .gguf or a .safetensors file')
    .description('compress the matrices of a model on the GPU')
    .requiredOption(
      '-o, --out <path>',
      'where the result goes; its ending chooses: .gguf, .safetensors, or else a folder',
    )
    .option('--format <name>', 'format of all linear matrices, or a preset of llama.cpp (default: q4_0)')
    .option('--method <name>', `how codes and scales are chosen: ${METHODS.join(', ')} (default: search, where it can)`)
    .option(
      '--refine <rounds>',
      'fit scales, and with gptq codes, anew to the calibration (default: 3 with gptq, else 0)',
    )
    .option(
      '--calibration <file>',
      'text in UTF-8 that shows what the inputs of the matrices are like: gptq, awq and smoothquant need it, search weighs errors by it',
    )
    .option('--windows <n>', 'windows of the calibration text (default: 64)')
    .option('--window <n>', 'tokens in a window (default: 256)')
    .option('--statistics <file>', 'in place of a calibration text: what "compressa calibrate" gathered')
    .option('--imatrix <file>', 'weigh errors by an importance matrix of llama.cpp')
    .option(
      '--correct <share>',
      'how much of what earlier matrices lost gptq makes up for in later ones, 0 to 1 (default: 0.5 below 4 bits, else 0)',
    )
    .option('--no-propagate', 'calibrate each block on what the original blocks before it make')
    .addOption(
      new Option(
        '--rotate [seed]',
        'rotate the residual stream first, so that large values of few columns spread over all (default seed: 1)',
      ).argParser(parseSeed),
    )
    .option(
      '--rotate-inner',
      'the same, and a Hadamard transform of the inner activations of FFNs while the model runs',
    )
    .option('--recipe <file>', 'a JSON file that says which matrix gets which format')
    .option('--overwrite', 'replace what is at <path>')
    .option(
      '--resume',
      'go on where an interrupted run with this option ended, and leave what is finished for the next',
    )
    .addOption(
      new Option('--shard-size <size>', 'most bytes of weights in a file of a folder (default: 5GB)').argParser(
        parseSize,
      ),
    )
    .option('--container <name>', 'in a folder: as another stack stores them: compressed-tensors, mlx or bitsandbytes')
    .option('--unpack', 'write zeros for what packed weights leave out, as other programs read it')
    .option('--dry-run', 'only say what would be done, and the memory that it takes')
    .option('--json', 'print one JSON document')
    .addOption(tuneOption('off'))
    .addOption(adapterOption())
    .addOption(gpuMemoryOption())
    .addHelpText('after', HELP)
    .action((model: string, options: CompressCommandOptions) =>
      runCompress(model, options, { signal: interruptSignal }),
    );
}

/** The command's work. A cancelled run leaves nothing behind, or what `--resume` goes on with. */
export async function runCompress(
  model: string,
  options: CompressCommandOptions,
  { signal }: { readonly signal: AbortSignal },
): Promise<void> {
  if (options.recipe !== undefined && options.format !== undefined) {
    throw new ArgumentError('Give either --recipe or --format, not both.');
  }
  if (options.recipe !== undefined && (options.method !== undefined || options.refine !== undefined)) {
    throw new ArgumentError('Give --method and --refine with --format; the rules of a recipe name their own.');
  }
  const rotation = rotationOf(options);
  if (options.recipe !== undefined && rotation !== undefined) {
    throw new ArgumentError('Give --rotate with --format; a recipe has a key "rotation" for it.');
  }
  const kind = outputKind(options.out);
  await refuseReplacing(model, options.out, kind === 'folder');
  const { statistics: file, imatrix } = options;
  if ([file, imatrix, options.calibration].filter((given) => given !== undefined).length > 1) {
    throw new ArgumentError('Give one of --calibration, --statistics and --imatrix.');
  }
  const calibration = await readCalibration(model, options, signal);
  const statistics = file === undefined ? undefined : await readStatistics(await openPath(file), signal);
  try {
    const inputs: Pick<RecipeOptions, 'calibration' | 'statistics'> = {
      ...(calibration && { calibration }),
      ...(statistics && { statistics }),
      ...(imatrix !== undefined && { statistics: await openImatrix(model, imatrix, signal) }),
    };
    const how: RecipeOptions = {
      ...inputs,
      ...(options.method !== undefined && { method: methodByName(options.method, '--method') }),
      ...(options.refine !== undefined && { refine: wholeNumber('--refine', options.refine, 0) }),
      ...(options.format !== undefined && { format: options.format }),
      ...(rotation && { rotation }),
      ...(options.container !== undefined && { container: containerByName(options.container).name }),
      ...(options.unpack && { unpack: true }),
      ...(options.shardSize !== undefined && { shardBytes: options.shardSize }),
      ...(options.recipe !== undefined && { recipe: await readRecipe(options.recipe, signal) }),
    };
    await writeModel(model, kind, options, how, 'Compressing', signal);
  } finally {
    await statistics?.close();
  }
}

const DEFAULT_SEED = 1;

function rotationOf({ rotate, rotateInner }: CompressCommandOptions): Rotation | undefined {
  if (!rotate && rotate !== 0 && !rotateInner) return undefined;
  return { seed: typeof rotate === 'number' ? rotate : DEFAULT_SEED, ...(rotateInner && { inner: true }) };
}

/** @throws ArgumentError */
function parseSeed(text: string): number {
  const seed = Number(text);
  if (/^\d{1,10}$/.test(text) && seed < 2 ** 32) return seed;
  throw new ArgumentError(`--rotate: ${text} is no seed; give a whole number from 0 to ${2 ** 32 - 1}.`);
}

async function readRecipe(path: string, signal: AbortSignal) {
  if (path === '') throw new ArgumentError('The name of the recipe (--recipe) is empty. Name a JSON file.');
  const source = await openPath(path);
  try {
    if (source.size > MAX_RECIPE_BYTES) {
      throw new ArgumentError(`${path}: ${source.size} bytes are too many for a recipe; at most ${MAX_RECIPE_BYTES}.`);
    }
    return parseRecipeText(new TextDecoder().decode(await source.read(0, source.size, signal)), path);
  } finally {
    await source.close();
  }
}
