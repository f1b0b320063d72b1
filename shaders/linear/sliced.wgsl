// #include "shared.wgsl"
// #include "operands_aligned.wgsl"
// #include "four_rows.wgsl"
// #include "sliced_body.wgsl"
