import { ModelError } from '../../errors.ts';
import type { Json, JsonObject } from '../strict-json.ts';
import { quote } from '../text.ts';
import type { GgufArchitecture } from './architectures.ts';

/** A config.json that is to become metadata: its fields with their types checked, and what the kind of model means without them. */
export class ConfigFields {
  readonly config: JsonObject;
  readonly architecture: GgufArchitecture;
  readonly layers: number;
  readonly hidden: number;
  readonly heads: number;
  readonly headDim: number;
  /** The rotary embedding; of layers that see everything, where there are two kinds. */
  readonly rope: JsonObject;
  readonly theta: number;
  readonly #file: string;

  /** `file` names the config in messages. @throws ModelError for sizes that are missing or no numbers */
  constructor(config: JsonObject, architecture: GgufArchitecture, file: string) {
    this.config = config;
    this.architecture = architecture;
    this.#file = file;
    const { defaults } = architecture;
    this.layers = this.required('num_hidden_layers');
    this.hidden = this.required('hidden_size');
    this.heads = this.required('num_attention_heads');
    this.headDim = this.number('head_dim') ?? defaults.headDim ?? this.hidden / this.heads;
    // Transformers 5 writes "rope_parameters", and into it one object for each kind of layer where there are two.
    const parameters = objectOf(config.rope_parameters);
    this.rope = objectOf(parameters?.full_attention) ?? parameters ?? objectOf(config.rope_scaling) ?? {};
    this.theta = this.number('rope_theta', this.rope) ?? this.number('rope_theta') ?? defaults.theta;
  }

  /** Undefined where the field is missing or null. @throws ModelError for what is no number */
  number(key: string, from: JsonObject = this.config): number | undefined {
    const value = from[key];
    if (value === undefined || value === null) return undefined;
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    return this.fail(`${key} is ${quote(JSON.stringify(value))}, which is no number.`);
  }

  /** @throws ModelError also where there is none */
  required(key: string): number {
    return this.number(key) ?? this.fail(`${key} is missing.`);
  }

  /** The width of FFNs, which may be written once for each layer where all are alike. */
  get ffn(): number {
    const size = this.config.intermediate_size;
    const [width, another] = Array.isArray(size) ? new Set(size) : [];
    const alike = width !== undefined && another === undefined ? { intermediate_size: width } : this.config;
    return this.number('intermediate_size', alike) ?? this.fail('intermediate_size is missing.');
  }

  /** A field that null switches off; without it `absent` holds. */
  nullable(key: string, absent: number): number | undefined {
    return this.config[key] === undefined ? absent : this.number(key);
  }

  /** The rotary embedding of layers that see a window, where Transformers 5 says it apart. */
  get localRope(): JsonObject | undefined {
    return objectOf(objectOf(this.config.rope_parameters)?.sliding_attention);
  }

  /** @throws ModelError with the problem, a sentence */
  fail(problem: string): never {
    throw new ModelError(`${this.#file}: ${problem}`);
  }

  /** @throws ModelError for something that no GGUF file of this kind of model can say, such as `that layers see a window` */
  cannotSay(what: string): never {
    return this.fail(
      `GGUF files of ${this.architecture.name} models can't say ${what}. Choose a folder or a .safetensors file.`,
    );
  }
}

export const objectOf = (value: Json | undefined): JsonObject | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
