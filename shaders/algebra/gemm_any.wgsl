// #include "gemm_operands_any.wgsl"
// #include "gemm_body.wgsl"
