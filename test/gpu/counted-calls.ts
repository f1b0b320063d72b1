/** Counts calls of some methods of an object until it is told to stop, when it gives the counts by name of those that were called. */
export function countedCalls<Owner extends object>(
  owner: Owner,
  names: readonly (keyof Owner & string)[],
): { stop(): Record<string, number> } {
  const counts: Record<string, number> = {};
  for (const name of names) {
    const original = owner[name] as (...given: unknown[]) => unknown;
    const counted = (...given: unknown[]) => {
      counts[name] = (counts[name] ?? 0) + 1;
      return original.apply(owner, given);
    };
    Object.defineProperty(owner, name, { value: counted, configurable: true });
  }
  return {
    stop() {
      // The methods themselves are the prototype's.
      for (const name of names) Reflect.deleteProperty(owner, name);
      return counts;
    },
  };
}
