// Integer groups whose zero is the middle code, by the method `search`.
// #include "int_middle_body.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(3) var<storage, read> importance: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> params: Params;

// #include "int_search.wgsl"
