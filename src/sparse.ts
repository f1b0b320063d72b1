// `compressa/sparse`: weights of which an N:M pattern keeps some, packed, and their products.
export {
  type PackSparseArguments,
  packSparseStep,
  type SparseArrays,
  unpackSparseStep,
} from './kernels/pack-sparse.ts';
export { type SparseLayout, type SparsePattern, sparseLayout } from './kernels/sparse-layout.ts';
export { type SparseLinearArguments, sparseLinearSteps } from './kernels/sparse-linear.ts';
export {
  type SparseVariant,
  sparseVariants,
  sparseVariantsFor,
  usualSparseVariant,
} from './kernels/sparse-linear-variants.ts';
export { allocateSparse, type SparseWeight, uploadSparse } from './kernels/sparse-weight.ts';
