// Rows whose length is a multiple of 4.
// #include "load_aligned.wgsl"
// #include "count_keys_body.wgsl"
