import { Environment, Interpreter, Template } from '@huggingface/jinja';

// Templates come with models and may be hostile (CWE-835, CWE-400). Published ones are below 20 KB and take a few thousand steps
// for a conversation of a hundred messages.
const MAX_TEMPLATE_LENGTH = 2 ** 18;
const MAX_TEXT_LENGTH = 2 ** 24;
const MAX_STEPS = 1_000_000;
// What a range or an indent may count to.
const MAX_NUMBER = 2 ** 20;
/** Characters that count as a step: a text may be long, but not copied without end. */
const CHARACTERS_PER_STEP = 256;

type Value = ReturnType<Interpreter['evaluate']>;

/** What a template computes is weighed after every step, so that neither loops nor values grow without end. */
class BoundedInterpreter extends Interpreter {
  /** Values that the caller gave: their size is what it is. */
  readonly #given = new Set<unknown>();
  #left = MAX_STEPS;

  constructor(environment: Environment) {
    super(environment);
    for (const value of environment.variables.values()) this.#giveDeep(value);
  }

  override evaluate(...args: Parameters<Interpreter['evaluate']>): Value {
    const value = super.evaluate(...args);
    this.#left -= 1;
    this.#weigh(value);
    return value;
  }

  #giveDeep(value: Value): void {
    this.#given.add(value);
    for (const part of partsOf(value)) this.#giveDeep(part);
  }

  #weigh(value: Value): void {
    const { value: content } = value;
    if (typeof content === 'number' && !(Math.abs(content) <= MAX_NUMBER))
      throw new Error(`it computes with ${content}`);
    if (typeof content === 'string') {
      if (content.length > MAX_TEXT_LENGTH)
        throw new Error(`it makes a text of more than ${MAX_TEXT_LENGTH} characters`);
      this.#left -= Math.floor(content.length / CHARACTERS_PER_STEP);
    }
    if (this.#left < 0) throw new Error(`it takes more than ${MAX_STEPS} steps`);
    if (this.#given.has(value)) return;
    // The same list in two places counts twice: written out it takes twice the room.
    for (const part of partsOf(value)) {
      this.#left -= 1;
      this.#weigh(part);
    }
  }
}

/** Elements of a list, entries of an object. */
function partsOf({ value }: Value): Iterable<Value> {
  if (Array.isArray(value)) return value as Value[];
  return value instanceof Map ? (value as Map<string, Value>).values() : [];
}

/** A Jinja template as Hugging Face's chat templates are. The constructor and `render` throw plain errors. */
export class BoundedTemplate {
  readonly #program: Template['parsed'];

  constructor(source: string) {
    if (source.length > MAX_TEMPLATE_LENGTH) throw new Error(`it has more than ${MAX_TEMPLATE_LENGTH} characters`);
    this.#program = new Template(source).parsed;
  }

  /** @param variables plain data and functions, by the names that the template knows them by */
  render(variables: Readonly<Record<string, unknown>>): string {
    const environment = new Environment();
    const constants = { true: true, false: false, none: null, True: true, False: false, None: null };
    for (const [name, value] of Object.entries({ ...constants, range, ...variables })) environment.set(name, value);
    const { value } = new BoundedInterpreter(environment).run(this.#program);
    return String(value);
  }
}

/** Python's range; its length is checked before it is made. */
function range(from: number, to?: number, step = 1): number[] {
  const [start, stop] = to === undefined ? [0, from] : [from, to];
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (!(length <= MAX_NUMBER)) throw new Error(`it makes a range of ${length} numbers`);
  return Array.from({ length }, (_, i) => start + i * step);
}
