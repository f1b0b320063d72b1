import f16 from '../../shaders/layers/cache/f16.wgsl';
import f32 from '../../shaders/layers/cache/f32.wgsl';
import int4 from '../../shaders/layers/cache/int4.wgsl';
import int8 from '../../shaders/layers/cache/int8.wgsl';
import { ArgumentError } from '../errors.ts';
import type { Binding, BufferView } from '../gpu/kernel.ts';
import type { ShaderSource } from '../gpu/shader-source.ts';
import { suggest } from '../suggest.ts';
import { writes } from './exact.ts';

/** How keys and values are kept: as they are, rounded to f16, or in whole numbers of 8 or 4 bits that share a scale by 32 of a head. */
export type CacheType = 'f32' | 'f16' | 'int8' | 'int4';

/** All of them. */
export const CACHE_TYPES: readonly CacheType[] = ['f32', 'f16', 'int8', 'int4'];

const SHADERS: Readonly<Record<CacheType, ShaderSource>> = { f32, f16, int8, int4 };

/** 32-bit words of one head of one position, of keys or of values; heads are rounded up to whole eights of numbers. */
export function cacheHeadWords(type: CacheType, headDim: number): number {
  const eights = Math.ceil(headDim / 8);
  const groups = Math.ceil(headDim / 32);
  switch (type) {
    case 'f32':
      return 8 * eights;
    case 'f16':
      return 4 * eights;
    case 'int8':
      return 2 * eights + groups;
    case 'int4':
      return eights + groups;
  }
}

/** The keys, or the values, of one layer. */
export interface CacheShape {
  readonly type: CacheType;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** Bytes of one position. */
export const cachePositionBytes = ({ type, kvHeads, headDim }: CacheShape): number =>
  4 * kvHeads * cacheHeadWords(type, headDim);

/** Keys and values of one layer on the GPU, for `maxPositions` positions. */
export interface Cache extends CacheShape {
  readonly k: BufferView;
  readonly v: BufferView;
  readonly maxPositions: number;
}

/** Bind group 1 of kernels over a cache. */
export function cacheBindings(label: string, cache: Cache): Binding[] {
  const words = (cache.maxPositions * cachePositionBytes(cache)) / 4;
  return [writes(label, 'kCache', cache.k, words), writes(label, 'vCache', cache.v, words)];
}

/** The file that declares it. */
export const cacheShader = ({ type }: CacheShape): ShaderSource => SHADERS[type];

/** @throws ArgumentError for what is no type of a cache */
export function checkCacheType(type: string): CacheType {
  const found = CACHE_TYPES.find((one) => one === type);
  if (found) return found;
  throw new ArgumentError(
    `No cache is of type "${type}".${suggest(type, [...CACHE_TYPES])} There are: ${CACHE_TYPES.join(', ')}.`,
  );
}
