// Rows of any length.
// #include "load_any.wgsl"
// #include "mark_keys_body.wgsl"
