import type { JsonObject } from '../strict-json.ts';
import type { ConfigFields } from './config-fields.ts';
import type { GgufEntry } from './entries.ts';
import type { Metadata } from './metadata.ts';

/** What configs of one kind of model say besides what all do. */
export interface FamilySettings {
  /** As metadata. @throws ModelError for what llama.cpp takes to be different, so that a file would be another model */
  write(fields: ConfigFields): readonly GgufEntry[];
  /** As fields of config.json, which go over those that all have. */
  read(facts: ReadFacts): JsonObject;
}

/** What reading a kind's own fields needs. */
export interface ReadFacts {
  readonly meta: Metadata;
  readonly layers: number;
  readonly hidden: number;
  readonly heads: number;
  readonly headDim: number;
  /** Whether the file has a tensor of that name. */
  readonly has: (tensor: string) => boolean;
}
