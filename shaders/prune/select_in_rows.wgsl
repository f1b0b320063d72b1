// Rows whose length is a multiple of 4.
// #include "load_aligned.wgsl"
// #include "select_in_rows_body.wgsl"
