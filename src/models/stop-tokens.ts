import type { Tokenizer } from './tokenizer.ts';

/**
 * Special tokens that end a turn or a text in the families here. Configs often name only one of those that a model was trained to
 * stop at, and generation configs get lost.
 */
const ENDS = ['<|im_end|>', '<|eot_id|>', '<|eom_id|>', '<|end_of_text|>', '<|endoftext|>', '<|end|>', '<end_of_turn>'];

/** Every token at which a text ends: the tokenizer's, those that configs name, and special tokens that are known to end a turn. */
export function stopTokensOf(
  tokenizer: Tokenizer | undefined,
  configs: readonly (Readonly<Record<string, unknown>> | undefined)[],
): Set<number> {
  const stops = new Set<number>();
  if (tokenizer?.endOfText !== undefined) stops.add(tokenizer.endOfText);
  for (const config of configs) {
    const ids = config?.eos_token_id;
    for (const id of Array.isArray(ids) ? ids : [ids]) if (typeof id === 'number') stops.add(id);
  }
  for (const name of ENDS) {
    const id = tokenizer?.special.get(name);
    if (id !== undefined) stops.add(id);
  }
  return stops;
}
