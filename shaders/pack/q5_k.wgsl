// Codes of q5_k, a byte each, into its arrays.
// #include "given.wgsl"
@group(0) @binding(1) var<storage, read_write> codes: array<u32>;
@group(0) @binding(2) var<storage, read_write> high: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

const SUB = 32u;

// #include "super_block.wgsl"
// #include "q5_k_codes.wgsl"
