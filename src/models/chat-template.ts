import { ArgumentError, ModelError } from '../errors.ts';
import { quote, reason } from '../files/text.ts';
import type { BoundedTemplate } from './bounded-jinja.ts';

/** One turn of a conversation. Most templates know `system`, `user` and `assistant`. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

/** Where a model's files may keep a template; each as parsed, or undefined where there is no such file. */
export interface TemplateFiles {
  /** `chat_template.jinja`, as text. */
  readonly jinja?: string | undefined;
  /** `chat_template.json`. */
  readonly json?: Readonly<Record<string, unknown>> | undefined;
  /** `tokenizer_config.json`. */
  readonly tokenizerConfig?: Readonly<Record<string, unknown>> | undefined;
}

/** Whatever a template raises on purpose, such as that roles must alternate. */
class Refusal extends Error {}

/** Special tokens that templates write into the text by these names. */
const TOKEN_NAMES = ['bos_token', 'eos_token', 'unk_token', 'pad_token', 'sep_token', 'cls_token', 'mask_token'];

/** How a conversation becomes the text that a model goes on from. It comes with the model and is not trusted: it can neither hang nor reach anything. */
export class ChatTemplate {
  readonly #name: string;
  readonly #source: () => string;
  readonly #tokens: Readonly<Record<string, string>>;
  #template: BoundedTemplate | undefined;

  /** `name` is that of the file, for messages. The source is looked at when it is needed: a model can do without. */
  constructor(source: string | (() => string), name: string, tokens: Readonly<Record<string, string>> = {}) {
    this.#source = typeof source === 'string' ? () => source : source;
    this.#name = name;
    this.#tokens = tokens;
  }

  /**
   * The conversation as text, special tokens written out, up to where the assistant's answer begins.
   * @throws ArgumentError where the template refuses the conversation, ModelError where it fails
   */
  async render(messages: readonly ChatMessage[], now: Date = new Date()): Promise<string> {
    if (messages.length === 0) throw new ArgumentError('There are no messages to answer.');
    const template = await this.#compile();
    try {
      return template.render({
        ...this.#tokens,
        messages: messages.map(({ role, content }) => ({ role, content })),
        add_generation_prompt: true,
        raise_exception: (problem: unknown) => {
          throw new Refusal(String(problem));
        },
        strftime_now: (format: string) => formatTime(now, format),
      });
    } catch (error) {
      if (error instanceof Refusal) {
        throw new ArgumentError(`${this.#name}: the chat template refuses the conversation: ${quote(error.message)}.`);
      }
      throw new ModelError(`${this.#name}: the chat template failed: ${quote(reason(error))}.`);
    }
  }

  async #compile(): Promise<BoundedTemplate> {
    const source = this.#source();
    // Apart from the rest, since most pages never need it.
    const { BoundedTemplate } = await import('./bounded-jinja.ts');
    try {
      this.#template ??= new BoundedTemplate(source);
      return this.#template;
    } catch (error) {
      throw new ModelError(
        `${this.#name}: the chat template is no Jinja template that is understood (${quote(reason(error))}).`,
      );
    }
  }
}

/** The template that a model's files hold, if any: the file of its own before the one in the tokenizer's. */
export function findChatTemplate(files: TemplateFiles, folder: string): ChatTemplate | undefined {
  const found = findTemplateSource(files, folder);
  return found && new ChatTemplate(found.source, found.where, tokensOf(files.tokenizerConfig ?? {}));
}

/** The same as text, for those who pass it on: `source` throws a `ModelError` where the file makes no sense. */
export function findTemplateSource(
  files: TemplateFiles,
  folder: string,
): { readonly source: () => string; readonly where: string } | undefined {
  const { jinja } = files;
  if (jinja !== undefined) return { source: () => jinja, where: `${folder}/chat_template.jinja` };
  for (const [name, data] of [
    ['chat_template.json', files.json],
    ['tokenizer_config.json', files.tokenizerConfig],
  ] as const) {
    const where = `${folder}/${name}`;
    const value = data?.chat_template ?? undefined;
    if (value !== undefined) return { source: () => sourceOf(value, where), where };
  }
  return undefined;
}

/** A template by itself, or the one called "default" of a list. */
function sourceOf(value: unknown, where: string): string {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value))
    throw new ModelError(`${where}: "chat_template" is neither a text nor a list of named ones.`);
  const named = value.filter(isNamed);
  const found = named.find(({ name }) => name === 'default') ?? (named.length === 1 ? named[0] : undefined);
  if (!found) throw new ModelError(`${where}: none of the templates in "chat_template" is called "default".`);
  return found.template;
}

const isNamed = (entry: unknown): entry is { name: string; template: string } =>
  typeof entry === 'object' &&
  entry !== null &&
  'name' in entry &&
  'template' in entry &&
  typeof entry.template === 'string';

function tokensOf(config: Readonly<Record<string, unknown>>): Record<string, string> {
  const tokens: Record<string, string> = {};
  for (const name of TOKEN_NAMES) {
    const value = config[name];
    // Either the token, or an object that also says how it is matched.
    const content = typeof value === 'object' && value !== null && 'content' in value ? value.content : value;
    if (typeof content === 'string') tokens[name] = content;
  }
  return tokens;
}

const two = (value: number): string => String(value).padStart(2, '0');
const nameOf = (date: Date, part: Intl.DateTimeFormatOptions): string => date.toLocaleDateString('en-US', part);

/** The parts of Python's strftime that templates use, in local time. */
const TIME: Readonly<Record<string, (date: Date) => string>> = {
  d: (date) => two(date.getDate()),
  m: (date) => two(date.getMonth() + 1),
  y: (date) => two(date.getFullYear() % 100),
  Y: (date) => String(date.getFullYear()),
  H: (date) => two(date.getHours()),
  M: (date) => two(date.getMinutes()),
  S: (date) => two(date.getSeconds()),
  a: (date) => nameOf(date, { weekday: 'short' }),
  A: (date) => nameOf(date, { weekday: 'long' }),
  b: (date) => nameOf(date, { month: 'short' }),
  B: (date) => nameOf(date, { month: 'long' }),
  '%': () => '%',
};

const formatTime = (date: Date, format: string): string =>
  format.replace(/%(.)/g, (whole, letter: string) => TIME[letter]?.(date) ?? whole);
