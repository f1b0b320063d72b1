/** Numbers by which GGUF files name the types of metadata values. */
export const ValueType = {
  UINT8: 0,
  INT8: 1,
  UINT16: 2,
  INT16: 3,
  UINT32: 4,
  INT32: 5,
  FLOAT32: 6,
  BOOL: 7,
  STRING: 8,
  ARRAY: 9,
  UINT64: 10,
  INT64: 11,
  FLOAT64: 12,
} as const;

/** One of those numbers. */
export type ValueType = (typeof ValueType)[keyof typeof ValueType];

/** Bytes of a value; undefined for strings and arrays, and for numbers that name no type. */
export function valueBytes(type: number): number | undefined {
  return BYTES[type];
}

const BYTES: readonly (number | undefined)[] = [1, 1, 2, 2, 4, 4, 4, 1, undefined, undefined, 8, 8, 8];

/** Whether `type` names a type at all. */
export const isValueType = (type: number): type is ValueType => Number.isInteger(type) && type >= 0 && type < 13;
