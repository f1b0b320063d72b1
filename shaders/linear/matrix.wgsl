// #include "shared.wgsl"
// #include "operands_aligned.wgsl"
// #include "matrix_body.wgsl"
