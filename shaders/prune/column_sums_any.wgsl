// Rows of any length.
// #include "load_any.wgsl"
// #include "column_sums_body.wgsl"
