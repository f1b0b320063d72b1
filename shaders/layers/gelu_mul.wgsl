// out = gelu(gate) * up in the tanh form, an element a thread. 1 + tanh(u) is 2 * sigmoid(2u), and the sigmoid takes exp of
// negative numbers only, so nothing overflows or cancels.
// #include "../common/grid.wgsl"
@group(0) @binding(0) var<storage, read> gate: array<f32>;
@group(0) @binding(1) var<storage, read> up: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

struct Params { count: u32 }

override WORKGROUP: u32 = 256;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = workgroup_index(workgroup_id, num_workgroups) * WORKGROUP + thread;
  if (i >= params.count) { return; }
  let g = gate[i];
  // From 12 on, exp(-2u) is below 2^-149 and the cube would only overflow.
  let a = min(abs(g), 12.0);
  let twice = 1.5957691216057308 * a * (1.0 + 0.044715 * a * a);
  let e = select(0.0, exp(max(-twice, -104.0)), twice < 104.0);
  out[i] = g * (select(e, 1.0, g >= 0.0) / (1.0 + e)) * up[i];
}
