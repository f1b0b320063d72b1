// #include "gemm_operands.wgsl"
// #include "gemm_body.wgsl"
