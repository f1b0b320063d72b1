// #include "operands_aligned.wgsl"
// #include "vector_sum_body.wgsl"
