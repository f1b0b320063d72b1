// Activations to int8, a token a row, with a scale each: measured, or the one that is given.
// #include "../common/grid.wgsl"
// #include "int8_rows.wgsl"
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> given: array<u32>; // anything readable where GIVEN is false
@group(0) @binding(2) var<storage, read_write> codes: array<u32>;
@group(0) @binding(3) var<storage, read_write> scales: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

struct Params { tokens: u32, k: u32 }

override GIVEN: bool = false;

fn columns() -> u32 { return params.k; }

// first + length, in a form that no compiler can count with: what rounds values unrolls no rare loop.
fn end_of(first: u32, length: u32) -> u32 { return min(first + length, params.k + 3u); }

fn value4(row: u32, k: u32) -> vec4<f32> {
  let at = row * params.k + k;
  var values = vec4<f32>(x[at], 0.0, 0.0, 0.0);
  if (k + 1u < params.k) { values.y = x[at + 1u]; }
  if (k + 2u < params.k) { values.z = x[at + 2u]; }
  if (k + 3u < params.k) { values.w = x[at + 3u]; }
  return values;
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = workgroup_index(workgroup_id, num_workgroups);
  if (row >= params.tokens) { return; }
  let most = largest_of(row, thread);
  var scale = measured_scale(most);
  if (GIVEN) { scale = given_scale(most, given[0]); }
  for (var word = thread; word < words_of_row(); word += WORKGROUP) {
    codes[row * words_of_row() + word] = word_of(row, word, scale);
  }
  if (thread == 0u) { scales[row] = scale; }
}
