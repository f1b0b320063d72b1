// Of each row of a matrix the sum of what its weights are ranked by, and how many are ranked above a threshold; a thread has a row. Rows are a multiple of 4.
// #include "load_aligned.wgsl"
// #include "score_counts_body.wgsl"
