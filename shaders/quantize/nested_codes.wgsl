// Third step of double quantization: what is left of each scale without the mean, in the signed dynamic map under the largest magnitude of its block.
// A workgroup owns a block.
// #include "nested.wgsl"
// #include "../common/divide.wgsl"
// #include "../common/dynamic_map.wgsl"
@group(0) @binding(0) var<storage, read> scales: array<f32>;
@group(0) @binding(1) var<storage, read_write> nested: array<Nested>;
@group(0) @binding(2) var<storage, read_write> codes: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> map: array<f32, 256>;
var<workgroup> bytes: array<u32, 256>;
var<workgroup> largest: atomic<u32>;

// Bits of 2^64.
const LARGE = 0x5f800000u;

// The code nearest to x; from the middle between two it is the even one.
fn nearest(x: f32) -> u32 {
  var code = 0u;
  for (var step = 128u; step > 0u; step /= 2u) {
    let below = code + step - 1u;
    let middle = (map[below] + map[below + 1u]) * 0.5;
    if (x > middle || (x == middle && (below & 1u) == 1u)) { code += step; }
  }
  return code;
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup_id, num_workgroups);
  let group = NESTED * index + thread;
  map[thread] = dynamic_value(thread);
  var distance = 0.0;
  if (group < params.groups) { distance = bitcast<f32>(bounded_bits(scales[group])) - nested[index].mean; }
  let size = bitcast<u32>(distance) & 0x7fffffffu;
  if (size < SMALLEST_NORMAL) { distance = 0.0; }
  atomicMax(&largest, select(size, 0u, size < SMALLEST_NORMAL));
  workgroupBarrier();
  let bits = atomicLoad(&largest);
  let large = bits >= LARGE;
  let unit = select(1.0, 0x1p-64, large);
  let divided = select(bits, bits - (64u << 23u), large);
  let inverse = select(bitcast<f32>(inverse_bits(max(divided, SMALLEST_NORMAL))), 0.0, bits == 0u);
  bytes[thread] = select(0u, nearest((distance * unit) * inverse), group < params.groups);
  workgroupBarrier();
  if (NESTED * index < params.groups && thread == 0u) { nested[index].first = bitcast<f32>(bits); }
  let word = (NESTED / 4u) * index + thread;
  if (thread < NESTED / 4u && word < (params.groups + 3u) / 4u) {
    codes[word] = bytes[4u * thread] | (bytes[4u * thread + 1u] << 8u) | (bytes[4u * thread + 2u] << 16u)
      | (bytes[4u * thread + 3u] << 24u);
  }
}
