// x / sqrt(mean(x^2) + epsilon) * (weight + offset), a workgroup for each row; may be added to what `out` holds. The row is scaled by a power of two from its largest
// magnitude before it is squared, so neither huge nor tiny values leave f32's range. Sums go over a fixed tree.
// #include "../common/grid.wgsl"
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

struct Params { rows: u32, width: u32, epsilon: f32, offset: f32, adds: u32 }

override WORKGROUP: u32 = 256;

var<workgroup> largest: array<u32, WORKGROUP>;
var<workgroup> sums: array<f32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = workgroup_index(workgroup_id, num_workgroups);
  if (row >= params.rows) { return; }
  let start = row * params.width;

  var magnitude = 0u;
  for (var i = thread; i < params.width; i += WORKGROUP) {
    magnitude = max(magnitude, bitcast<u32>(x[start + i]) & 0x7fffffffu);
  }
  largest[thread] = magnitude;
  workgroupBarrier();
  for (var half = WORKGROUP / 2u; half > 0u; half >>= 1u) {
    if (thread < half) { largest[thread] = max(largest[thread], largest[thread + half]); }
    workgroupBarrier();
  }
  // 2^-e for the largest exponent e; no more than 2^40, so that epsilon keeps its place.
  let exponent = clamp(largest[0] >> 23u, 87u, 253u);
  let scale = bitcast<f32>((254u - exponent) << 23u);

  var sum = 0.0;
  for (var i = thread; i < params.width; i += WORKGROUP) {
    let value = x[start + i] * scale;
    sum += value * value;
  }
  sums[thread] = sum;
  workgroupBarrier();
  for (var half = WORKGROUP / 2u; half > 0u; half >>= 1u) {
    if (thread < half) { sums[thread] += sums[thread + half]; }
    workgroupBarrier();
  }
  let factor = 1.0 / sqrt(sums[0] / f32(params.width) + params.epsilon * scale * scale);
  for (var i = thread; i < params.width; i += WORKGROUP) {
    let value = x[start + i] * scale * factor * (weight[i] + params.offset);
    if (params.adds == 0u) { out[start + i] = value; } else { out[start + i] += value; }
  }
}
