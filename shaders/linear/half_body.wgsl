// As matrix_body.wgsl, but 32 columns at a time are multiplied and summed in f16, which GPUs do twice as fast; those sums are added in f32. What exceeds 65504
// in any of 32 columns is infinite.
const RUN = 32u;

// #include "../common/grid.wgsl"
@compute @workgroup_size(8, 8)
fn main(
  @builtin(local_invocation_id) thread: vec3<u32>,
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
) {
  let id = 8u * workgroup_at(workgroup_id, num_workgroups, (params.rows + 31u) / 32u) + thread.xy;
  let row = id.x * 4u;
  let token = id.y * 4u;
  if (row >= params.rows || token >= params.tokens) {
    return;
  }
  let last_token = params.tokens - 1u;
  // #repeat t 4
  let token$t = min(token + $tu, last_token);
  var a$t = vec4<f32>(0.0); // rows row .. row + 3
  // #end
  for (var run = 0u; run < params.k; run += RUN) {
    // #repeat t 4
    var h$t = vec4<f16>(0.0);
    // #end
    for (var k = run; k < min(run + RUN, params.k); k += 4u) {
      let w = mat4x4<f16>(four_rows(row, k));
      // #repeat t 4
      h$t += vec4<f16>(x4(token$t, k)) * w;
      // #end
    }
    // #repeat t 4
    a$t += vec4<f32>(h$t);
    // #end
  }
  // #repeat t 4
  store4(token + $tu, row, a$t);
  // #end
}
