import type { Checkpoint } from '../files/checkpoint.ts';
import { GRAPH_KEY } from '../files/gguf/checkpoint.ts';
import { type GgufEntry, text, u32 } from '../files/gguf/entries.ts';
import type { GgufFile } from '../files/gguf/read.ts';
import { tokenizerEntries } from '../files/gguf/tokenizer-write.ts';
import { parseJsonObject } from '../files/strict-json.ts';
import { findTemplateSource } from '../models/chat-template.ts';
import type { GgufTarget } from './gguf-plan.ts';
import type { Plan } from './plan.ts';
import type { GgmlPreset } from './presets/ggml-presets.ts';

/** `general.file_type` (llama.cpp's `llama_ftype`) without a preset, by the type that most matrices have: for display only. */
const FILE_TYPES: Readonly<Record<string, number>> = {
  f32: 0,
  f16: 1,
  q4_0: 2,
  q4_1: 3,
  q8_0: 7,
  q5_0: 8,
  q5_1: 9,
  q2_k: 10,
  q3_k: 11,
  q4_k: 14,
  q5_k: 16,
  q6_k: 18,
  iq4_nl: 25,
  iq4_xs: 30,
  bf16: 32,
  tq1_0: 36,
  tq2_0: 37,
  mxfp4: 38,
  nvfp4: 39,
};

/** Version of ggml's block layouts. */
const QUANTIZATION_VERSION = 2;

/**
 * All the metadata of a GGUF file: what it is, the model's config, the tokenizer. From a GGUF file the tokenizer's keys and what
 * `general.*` says of the model are copied.
 * @throws ModelError for a tokenizer that GGUF, or this version, has no words for, or a chat template that is none
 */
export async function ggufMetadata(
  checkpoint: Checkpoint,
  target: GgufTarget,
  plan: Plan,
  { preset, signal }: { readonly preset?: GgmlPreset | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<GgufEntry[]> {
  const own: GgufEntry[] = [
    text('general.architecture', target.architecture.name),
    text('general.type', 'model'),
    ...fileType(plan, preset),
    u32('general.quantization_version', QUANTIZATION_VERSION),
    ...target.config.entries,
    ...(checkpoint.tree?.graph ? [text(GRAPH_KEY, JSON.stringify(checkpoint.tree.graph))] : []),
  ];
  const source = checkpoint.gguf;
  const more = source
    ? await copiedEntries(source, new Set(own.map(({ key }) => key)), signal)
    : [text('general.name', nameOf(checkpoint.name)), ...(await tokenizerOf(checkpoint, target))];
  // In one order, whatever they come from: a copy of a file is that file.
  return [...own, ...more.sort((a, b) => (a.key < b.key ? -1 : 1))];
}

function fileType(plan: Plan, preset: GgmlPreset | undefined): GgufEntry[] {
  if (preset) return [u32('general.file_type', preset.fileType)];
  const weights = new Map<string, number>();
  for (const { report } of plan.tensors) {
    if (report.role === 'linear') weights.set(report.format, (weights.get(report.format) ?? 0) + report.bytesAfter);
  }
  const [most] = [...weights].sort(([, a], [, b]) => b - a);
  const type = most && FILE_TYPES[most[0]];
  return type === undefined ? [] : [u32('general.file_type', type)];
}

/** The last part of a path or URL, which is all that a reader elsewhere should see of it. */
const nameOf = (name: string): string =>
  name
    .split(/[/\\]/)
    .filter((part) => part !== '')
    .at(-1) ?? 'model';

async function tokenizerOf(checkpoint: Checkpoint, { config: { vocabulary } }: GgufTarget): Promise<GgufEntry[]> {
  const json = async (file: string) => {
    const bytes = await checkpoint.fileBytes(file);
    return bytes && parseJsonObject(bytes, `${checkpoint.name}/${file}`);
  };
  const tokenizer = await json('tokenizer.json');
  const config = (await json('tokenizer_config.json')) ?? {};
  const jinja = await checkpoint.fileBytes('chat_template.jinja');
  const template = findTemplateSource(
    {
      jinja: jinja && new TextDecoder().decode(jinja),
      json: await json('chat_template.json'),
      tokenizerConfig: config,
    },
    checkpoint.name,
  );
  const files = tokenizer && {
    tokenizer,
    config: { ...config, ...(template && { chat_template: template.source() }) },
  };
  return tokenizerEntries(files, { config: checkpoint.config ?? {}, vocabulary, name: checkpoint.name });
}

async function copiedEntries(file: GgufFile, taken: ReadonlySet<string>, signal?: AbortSignal): Promise<GgufEntry[]> {
  const wanted = (key: string) =>
    /^(general|tokenizer)\./.test(key) && key !== 'general.alignment' && key !== 'general.file_type' && !taken.has(key);
  const entries: GgufEntry[] = [];
  for (const [key, scalar] of file.scalars) if (wanted(key)) entries.push({ key, ...scalar });
  for (const [key, span] of file.arrays) {
    if (!wanted(key)) continue;
    const { elementType, count } = span;
    entries.push({ key, elementType, count, bytes: await file.arrayBytes(span, signal) });
  }
  return entries;
}
