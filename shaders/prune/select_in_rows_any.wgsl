// Rows of any length.
// #include "load_any.wgsl"
// #include "select_in_rows_body.wgsl"
