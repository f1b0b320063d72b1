// `compressa/low-rank`: factors of matrices and models, apart from the rest so that a page which does not factor anything does not load it.
export {
  type FactorizedMatrix,
  type FactorizeOptions,
  type FactorizeReport,
  factorize,
} from './passes/factorize/factorize.ts';
export type { RankTarget } from './passes/factorize/rank.ts';
export {
  type ExtractAdapterOptions,
  type ExtractedAdapter,
  type ExtractedModule,
  extractAdapter,
} from './passes/lora/extract.ts';
export type { FactorType } from './passes/lora/peft.ts';
export { type ResizeAdapterOptions, type ResizedModule, resizeAdapter } from './passes/lora/resize.ts';
export { type FactoredTensor, type FactorFileOptions, factorFile } from './passes/lowrank/factor-file.ts';
export {
  type ConvKernel,
  channelFactors,
  type KernelFactorOptions,
  type KernelFactors,
  spatialFactors,
} from './passes/lowrank/kernel-factors.ts';
export type { QrMethod } from './passes/lowrank/orthonormalizer.ts';
export { type Qr, qr } from './passes/lowrank/qr.ts';
export {
  type RandomizedSvdOptions,
  randomizedSvd,
  type Svd,
  type SvdOptions,
  type SvdTarget,
  svd,
} from './passes/lowrank/svd.ts';
export { type SymmetricEigen, symmetricEigen } from './passes/lowrank/symmetric-eigen.ts';
export { type TuckerFactors, type TuckerOptions, tuckerFactors } from './passes/lowrank/tucker.ts';
