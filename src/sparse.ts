// `compressa/sparse`: weights of which an N:M pattern keeps some, packed, weights of which some blocks are there, and their products.

export {
  type BlockLayout,
  type BlockLists,
  type BlockSize,
  blockLayout,
  listBlocks,
} from './formats/block-layout.ts';
export { packedFormat } from './formats/packed.ts';
export { type SparseLayout, type SparsePattern, sparseLayout } from './formats/packed-layout.ts';
export { type BlockLinearArguments, blockLinearSteps } from './kernels/block-linear.ts';
export {
  type BlockShape,
  type BlockVariant,
  blockVariants,
  blockVariantsFor,
  usualBlockVariant,
} from './kernels/block-linear-variants.ts';
export { allocateBlocks, type BlockPart, type BlockWeight, uploadBlocks } from './kernels/block-weight.ts';
export { type GatherBlocksArguments, gatherBlocksStep } from './kernels/gather-blocks.ts';
export { type PackLargestArguments, packLargestSteps, packsInOnePass } from './kernels/pack-largest.ts';
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
