// `compressa/sparse`: weights of which an N:M pattern keeps some, packed, and their products.
export { packedFormat } from './formats/packed.ts';
export { type SparseLayout, type SparsePattern, sparseLayout } from './formats/packed-layout.ts';
export {
  type PackSparseArguments,
  packSparseStep,
  type SparseArrays,
  unpackSparseStep,
} from './kernels/pack-sparse.ts';
export { type SparseLinearArguments, sparseLinearSteps } from './kernels/sparse-linear.ts';
export {
  type SparseVariant,
  sparseVariants,
  sparseVariantsFor,
  usualSparseVariant,
} from './kernels/sparse-linear-variants.ts';
