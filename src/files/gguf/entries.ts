import type { ValueType as Type } from './value-types.ts';
import { ValueType } from './value-types.ts';

/** One key of the metadata that is to be written. */
export type GgufEntry =
  | { readonly key: string; readonly type: Type; readonly value: number | bigint | boolean | string }
  | { readonly key: string; readonly elementType: Type; readonly values: readonly (number | string)[] }
  /** An array whose elements are copied as they are. */
  | { readonly key: string; readonly elementType: Type; readonly count: number; readonly bytes: Uint8Array };

export const u32 = (key: string, value: number): GgufEntry => ({ key, type: ValueType.UINT32, value });
export const f32 = (key: string, value: number): GgufEntry => ({ key, type: ValueType.FLOAT32, value });
export const text = (key: string, value: string): GgufEntry => ({ key, type: ValueType.STRING, value });
export const flag = (key: string, value: boolean): GgufEntry => ({ key, type: ValueType.BOOL, value });
export const texts = (key: string, values: readonly string[]): GgufEntry => ({
  key,
  elementType: ValueType.STRING,
  values,
});
export const i32s = (key: string, values: readonly number[]): GgufEntry => ({
  key,
  elementType: ValueType.INT32,
  values,
});
export const f32s = (key: string, values: readonly number[]): GgufEntry => ({
  key,
  elementType: ValueType.FLOAT32,
  values,
});
