// Σ of some numbers, by one workgroup: what a figure shows while a knob moves.
struct Params { count: u32 }

@group(0) @binding(0) var<storage, read> numbers: array<f32>; // [count]
@group(0) @binding(1) var<storage, read_write> total: array<f32>; // [1]
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> near: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32) {
  var sum = 0.0;
  for (var at = thread; at < params.count; at += 256u) { sum += numbers[at]; }
  near[thread] = sum;
  for (var half = 128u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) { near[thread] += near[thread + half]; }
  }
  if (thread == 0u) { total[0] = near[0]; }
}
