// #include "shared.wgsl"
// #include "operands_any.wgsl"
// #include "matrix_body.wgsl"
