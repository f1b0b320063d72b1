// #include "gemm_operands.wgsl"
// #include "gemm_broadcast_body.wgsl"
