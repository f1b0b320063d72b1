// Many right-hand sides: each thread owns a register tile of 4 rows x 4 tokens and walks k in vec4 steps, without workgroup memory:
// 64 multiply-adds for 8 loads. A workgroup of 8 x 8 threads covers 32 rows x 32 tokens.
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
  let t1 = min(token + 1u, last_token);
  let t2 = min(token + 2u, last_token);
  let t3 = min(token + 3u, last_token);
  var a0 = vec4<f32>(0.0); // token 0, rows 0..3
  var a1 = vec4<f32>(0.0);
  var a2 = vec4<f32>(0.0);
  var a3 = vec4<f32>(0.0);
  for (var k = 0u; k < params.k; k += 4u) {
    let w = four_rows(row, k);
    a0 += x4(token, k) * w;
    a1 += x4(t1, k) * w;
    a2 += x4(t2, k) * w;
    a3 += x4(t3, k) * w;
  }
  store4(token, row, a0);
  store4(token + 1u, row, a1);
  store4(token + 2u, row, a2);
  store4(token + 3u, row, a3);
}
