// Codes of q4_k, a byte each, into its arrays.
// #include "given.wgsl"
@group(0) @binding(1) var<storage, read_write> codes: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

const SUB = 32u;

// #include "super_block.wgsl"
// #include "q4_k_codes.wgsl"
