// As score_counts.wgsl, for rows of any length.
// #include "load_any.wgsl"
// #include "score_counts_body.wgsl"
