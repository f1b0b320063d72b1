// #include "shared.wgsl"
// #include "operands_aligned.wgsl"
// #include "vector_tree.wgsl"
