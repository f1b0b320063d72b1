import { ArgumentError, ModelError } from './errors.ts';
import { type Checkpoint, openCheckpoint } from './files/checkpoint.ts';
import type { ModelFiles } from './files/model-files.ts';
import type { ByteSource } from './files/source.ts';
import { parseJsonObject } from './files/strict-json.ts';
import type { Gpu } from './gpu/gpu.ts';
import { Decoder, type DecoderOptions } from './graph/decoder.ts';
import { type GenerateOptions, generate, type StopReason } from './graph/generate.ts';
import type { Graph } from './graph/graph.ts';
import type { Weight } from './kernels/weight.ts';
import { type ChatMessage, type ChatTemplate, findChatTemplate } from './models/chat-template.ts';
import { stopTokensOf } from './models/stop-tokens.ts';
import { loadTokenizer, type Tokenizer } from './models/tokenizer.ts';
import { checkGraphWeights, type LoadOptions, loadWeights } from './passes/load-weights.ts';
import { modelGraph } from './passes/model-graph.ts';
import { checkWeight } from './passes/stored-weight.ts';
import type { TuneMode } from './tuner/tune-mode.ts';
import { Tuner } from './tuner/tuner.ts';

/** On which GPU a model is opened, and how it is held there. */
export interface ModelOptions extends LoadOptions, DecoderOptions {
  readonly gpu: Gpu;
  /** In place of a `tuner`: one that keeps what it finds in a browser's IndexedDB, elsewhere as long as the GPU is open. Default: `off`. */
  readonly tune?: TuneMode;
  readonly signal?: AbortSignal;
}

/** As `GenerateOptions`, for text. */
export interface TextOptions extends Omit<GenerateOptions, 'maxTokens'> {
  /** Default: as many as the caches hold. */
  readonly maxTokens?: number;
}

/** A text that is complete, and how it came about. */
export interface Generation {
  /** The pieces together; without the prompt. */
  readonly text: string;
  readonly promptTokens: readonly number[];
  readonly tokens: readonly number[];
  readonly reason: StopReason;
}

/** What the files of a model say before any GPU is at hand; its weights are still where they were. */
export interface ModelSource {
  readonly checkpoint: Checkpoint;
  readonly graph: Graph;
  /** Undefined where the files hold none: only texts need one. */
  readonly tokenizer: Tokenizer | undefined;
  /** Undefined where the files hold none: only conversations need one. */
  readonly chatTemplate: ChatTemplate | undefined;
  /** Tokens that end a text, by all the files that may name them: some models have several, such as the end of a turn. */
  readonly stopTokens: ReadonlySet<number>;
}

/**
 * Opens the files of a model, compressed or not, and checks everything but its weights' values: most mistakes show here.
 * The caller closes the checkpoint, or hands everything to `loadModel`.
 * @throws FileError, ModelError, CancelledError
 */
export async function readModel(
  files: ModelFiles | ByteSource,
  { signal }: { signal?: AbortSignal } = {},
): Promise<ModelSource> {
  const checkpoint = await openCheckpoint(files, { checkWeight, ...(signal && { signal }) });
  try {
    const { name, config } = checkpoint;
    if (!config) {
      const { configProblem } = checkpoint;
      throw new ModelError(
        configProblem ??
          `${name}: there is no config.json, so nothing says how to run it. Put the one that belongs to the model into the folder.`,
      );
    }
    const graph = modelGraph(checkpoint);
    checkGraphWeights(checkpoint, graph);
    const json = async (file: string) => {
      const bytes = await checkpoint.fileBytes(file);
      return bytes && parseJsonObject(bytes, `${name}/${file}`);
    };
    const tokenizerJson = await json('tokenizer.json');
    const tokenizerConfig = await json('tokenizer_config.json');
    const tokenizer = tokenizerJson && loadTokenizer(tokenizerJson, tokenizerConfig);
    const stopTokens = stopTokensOf(tokenizer, [config, await json('generation_config.json')]);
    const jinja = await checkpoint.fileBytes('chat_template.jinja');
    const chatTemplate = findChatTemplate(
      {
        jinja: jinja && new TextDecoder().decode(jinja),
        json: await json('chat_template.json'),
        tokenizerConfig,
      },
      name,
    );
    return { checkpoint, graph, tokenizer, chatTemplate, stopTokens };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/** The tokens that a model goes on from: of the prompt, or the one that starts a text. @throws ModelError without a tokenizer */
export function promptTokensOf(source: ModelSource, prompt: string): number[] {
  const tokens = tokenizerOf(source).encode(prompt);
  const start = source.checkpoint.config?.bos_token_id;
  if (tokens.length === 0 && typeof start === 'number') tokens.push(start);
  return tokens;
}

/**
 * The tokens that a model answers a conversation from. Special tokens that messages write out count as such, as the template's do.
 * @throws ModelError without a tokenizer or a template, or where that fails; ArgumentError where it refuses the conversation
 */
export async function chatTokensOf(source: ModelSource, messages: readonly ChatMessage[]): Promise<number[]> {
  const { chatTemplate, checkpoint } = source;
  const tokenizer = tokenizerOf(source);
  if (!chatTemplate) {
    throw new ModelError(
      `${checkpoint.name}: there is no chat template, neither in chat_template.jinja nor in tokenizer_config.json. The model may not be made for conversations; let it write on from a prompt.`,
    );
  }
  // What starts a text is the template's to write.
  return tokenizer.encode(await chatTemplate.render(messages), { addSpecial: false });
}

function tokenizerOf({ checkpoint, tokenizer }: ModelSource): Tokenizer {
  if (tokenizer) return tokenizer;
  throw new ModelError(
    `${checkpoint.name}: there is no tokenizer.json. Put the one that belongs to the model into the folder.`,
  );
}

/**
 * Opens a model, compressed or not, and brings its weights onto the GPU, as they are stored unless told otherwise. In Node
 * `nodeFolder` makes the files, in a browser `httpFolder`, and from a compression in memory `memoryFolder`; a GGUF file is given as
 * a `ByteSource` (`openPath`, `urlSource`, `blobSource`, `memorySource`), which is closed with the model.
 * @throws FileError, ModelError, OutOfMemoryError, CancelledError, DeviceLostError
 */
export async function openModel(files: ModelFiles | ByteSource, options: ModelOptions): Promise<Model> {
  return loadModel(await readModel(files, options), options);
}

/** The second half of `openModel`. The model owns the source, also where this throws. */
export async function loadModel(source: ModelSource, options: ModelOptions): Promise<Model> {
  const { gpu, tune, signal } = options;
  let weights: Map<string, Weight> | undefined;
  try {
    const tuner =
      options.tuner ?? (tune === undefined ? undefined : new Tuner(gpu, { mode: tune, ...(signal && { signal }) }));
    weights = await loadWeights(gpu, source.checkpoint, source.graph, options, signal);
    return new Model(source, weights, new Decoder(gpu, source.graph, weights, { ...options, ...(tuner && { tuner }) }));
  } catch (error) {
    for (const weight of weights?.values() ?? []) weight.release();
    await source.checkpoint.close();
    throw error;
  }
}

/** A model that is ready to write: its open files, and its weights and caches on the GPU. */
export class Model implements ModelSource {
  readonly checkpoint: Checkpoint;
  readonly graph: Graph;
  readonly tokenizer: Tokenizer | undefined;
  readonly chatTemplate: ChatTemplate | undefined;
  readonly stopTokens: ReadonlySet<number>;
  readonly weights: ReadonlyMap<string, Weight>;
  readonly decoder: Decoder;
  #writing: AsyncGenerator<number, StopReason, undefined> | undefined;
  #closed = false;

  /** Owns all it is given. */
  constructor(source: ModelSource, weights: ReadonlyMap<string, Weight>, decoder: Decoder) {
    this.checkpoint = source.checkpoint;
    this.graph = source.graph;
    this.tokenizer = source.tokenizer;
    this.chatTemplate = source.chatTemplate;
    this.stopTokens = source.stopTokens;
    this.weights = weights;
    this.decoder = decoder;
  }

  /**
   * Writes on from a prompt, each time from a fresh start, and yields the text piece by piece, one for each token: empty while
   * a character is unfinished. Special tokens are left out. What it returns at the end is what `complete` resolves to.
   * @throws ModelError where there is no tokenizer; ArgumentError while another text is being written, or once the model is
   * closed; CancelledError, NonFiniteError, OutOfMemoryError, DeviceLostError
   */
  async *generate(prompt: string, options: TextOptions = {}): AsyncGenerator<string, Generation, undefined> {
    return yield* this.#write(promptTokensOf(this, prompt), options);
  }

  /**
   * Answers a conversation by the model's chat template, up to the end of its turn. To go on, call it again with the answer and the
   * next message added. Otherwise as `generate`.
   * @throws ModelError where there is no tokenizer or template, or where that fails; ArgumentError where it refuses the conversation;
   * and as `generate`
   */
  async *chat(
    messages: readonly ChatMessage[],
    options: TextOptions = {},
  ): AsyncGenerator<string, Generation, undefined> {
    return yield* this.#write(await chatTokensOf(this, messages), options);
  }

  async *#write(promptTokens: readonly number[], options: TextOptions): AsyncGenerator<string, Generation, undefined> {
    const stream = tokenizerOf(this).stream({ skipSpecial: true });
    const tokens: number[] = [];
    let text = '';
    const run = this.#generate(promptTokens, options);
    try {
      for (;;) {
        const { value, done } = await run.next();
        const piece = done ? stream.finish() : stream.push(value);
        text += piece;
        if (done) {
          if (piece !== '') yield piece;
          return { text, promptTokens, tokens, reason: value };
        }
        tokens.push(value);
        yield piece;
      }
    } finally {
      // Where the caller leaves early.
      await run.return('max-tokens');
    }
  }

  /** The same, all at once. @throws as `generate` */
  async complete(prompt: string, options: TextOptions = {}): Promise<Generation> {
    const run = this.generate(prompt, options);
    for (;;) {
      const { value, done } = await run.next();
      if (done) return value;
    }
  }

  /** Ends a text that is being written, frees the model's memory on the GPU, which itself stays open, and closes the files. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    // Nothing may be submitted any more once the buffers belong to others.
    await this.#writing?.return('max-tokens').catch(() => undefined);
    this.decoder.release();
    for (const weight of this.weights.values()) weight.release();
    this.decoder.gpu.memory.trim();
    await this.checkpoint.close();
  }

  async *#generate(
    promptTokens: readonly number[],
    options: TextOptions,
  ): AsyncGenerator<number, StopReason, undefined> {
    this.#throwIfClosed();
    if (this.#writing) {
      throw new ArgumentError(
        'The model is writing another text. Finish or leave that one first, or open a second model.',
      );
    }
    this.decoder.rewind();
    const { maxTokens = this.decoder.maxPositions + 1, stopTokens = this.stopTokens } = options;
    const run = generate(this.decoder, promptTokens, { ...options, maxTokens, stopTokens });
    this.#writing = run;
    try {
      for (;;) {
        const { value, done } = await run.next();
        this.#throwIfClosed();
        if (done) return value;
        yield value;
        this.#throwIfClosed();
      }
    } finally {
      await run.return('max-tokens');
      this.#writing = undefined;
    }
  }

  #throwIfClosed(): void {
    if (this.#closed) throw new ArgumentError(`${this.checkpoint.name}: the model is closed. Open it again.`);
  }
}
