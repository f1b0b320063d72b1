import { u32 } from './entries.ts';
import type { FamilySettings, ReadFacts } from './family-settings.ts';

const biases = ({ has }: ReadFacts) => ({ attention_bias: has('blk.0.attn_q.bias') });

/** Llama: biases where there are tensors of that name. */
export const llamaSettings: FamilySettings = {
  write: () => [],
  read: (facts) => ({ ...biases(facts), mlp_bias: facts.has('blk.0.ffn_gate.bias') }),
};

const WINDOW = 'llama.attention.sliding_window';
/** What Mistral has where the config does not say it. */
const MISTRAL_WINDOW = 4096;

/** Mistral: a window, which llama.cpp passes over; Compressa reads it back. */
export const mistralSettings: FamilySettings = {
  write(fields) {
    const window = fields.nullable('sliding_window', MISTRAL_WINDOW);
    return window === undefined ? [] : [u32(WINDOW, window)];
  },
  read: (facts) => ({ ...llamaSettings.read(facts), sliding_window: facts.meta.required(WINDOW) }),
};

/** Qwen 2 and 3: no windows; the biases of 2 go without saying. */
export const qwenSettings = (name: 'qwen2' | 'qwen3'): FamilySettings => ({
  write(fields) {
    if (fields.config.use_sliding_window === true) fields.cannotSay('that layers see a window');
    if (name === 'qwen3' && fields.config.attention_bias === true) fields.cannotSay('attention_bias');
    return [];
  },
  read: (facts) => (name === 'qwen2' ? {} : biases(facts)),
});
