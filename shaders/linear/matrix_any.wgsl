// #include "shared.wgsl"
// #include "operands_any.wgsl"
// #include "four_rows.wgsl"
// #include "matrix_body.wgsl"
