// #include "shared.wgsl"
// #include "operands_any.wgsl"
// #include "four_rows.wgsl"
// #include "half_body.wgsl"
