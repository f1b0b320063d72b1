// #include "operands_any.wgsl"
// #include "vector_sum_body.wgsl"
