// Rows of any length.
// #include "load_any.wgsl"
// #include "count_keys_body.wgsl"
