/**
 * Whether two names are of one GPU: as Vulkan has it (`NVIDIA H200`, `llvmpipe (LLVM 15.0.6, 256 bits)`), which is what llama.cpp gives, or as Dawn
 * writes it (`nvidia-h200`, `llvmpipe-llvm-15-0-6-256-bits-`). Two GPUs of one kind can't be told apart.
 */
export const sameDevice = (a: string, b: string): boolean =>
  charactersOf(a) !== '' && charactersOf(a) === charactersOf(b);

const charactersOf = (name: string): string => name.toLowerCase().replace(/[^a-z0-9]/g, '');
