// #include "shared.wgsl"
// #include "operands_any.wgsl"
// #include "four_rows.wgsl"
// #include "staged_body.wgsl"
