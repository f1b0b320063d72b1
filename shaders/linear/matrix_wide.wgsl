// #include "shared.wgsl"
// #include "operands_aligned.wgsl"
// #include "four_rows.wgsl"
// #include "matrix_wide_body.wgsl"
