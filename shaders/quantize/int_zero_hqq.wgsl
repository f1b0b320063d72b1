// Integer groups with a zero point that is a float, by the method `hqq`.
// #include "int_zero_body.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> zeros: array<u32>;
@group(0) @binding(3) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(4) var<uniform> params: Params;

// #include "int_hqq.wgsl"
