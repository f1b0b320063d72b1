// #include "shared.wgsl"
// #include "operands_any.wgsl"
// #include "vector_tree.wgsl"
