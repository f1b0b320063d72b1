import type { Graph, Operation, ValueName } from './graph.ts';

/** The values that an operation reads, in the order of its fields. */
export function inputsOf(operation: Operation): ValueName[] {
  switch (operation.op) {
    case 'embedding':
      return [];
    case 'rms-norm':
    case 'linear':
    case 'rotary':
    case 'hadamard':
      return [operation.x];
    case 'attention':
      return [operation.q, operation.k, operation.v];
    case 'gelu-mul':
    case 'silu-mul':
      return [operation.gate, operation.up];
    case 'add':
      return [operation.a, operation.b];
  }
}

/** For each value that is read at all: the index of the last operation that reads it. After it, its memory is free. */
export function lastReads(graph: Graph): Map<ValueName, number> {
  const last = new Map<ValueName, number>();
  for (const [index, operation] of graph.operations.entries()) {
    for (const name of inputsOf(operation)) last.set(name, index);
  }
  return last;
}
