// Rows whose length is a multiple of 4.
// #include "load_aligned.wgsl"
// #include "mark_keys_body.wgsl"
