// Rows whose length is a multiple of 4.
// #include "load_aligned.wgsl"
// #include "column_sums_body.wgsl"
