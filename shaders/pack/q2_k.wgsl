// Codes of q2_k, a byte each, into its arrays.
// #include "given.wgsl"
@group(0) @binding(1) var<storage, read_write> codes: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

const SUB = 16u;

// #include "super_block.wgsl"
// #include "q2_k_codes.wgsl"
