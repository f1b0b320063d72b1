// Many right-hand sides, where loads cost more than registers: a register tile of 8 rows x 8 tokens, 256 multiply-adds for 16 loads.
// A workgroup of 8 x 8 threads covers 64 rows x 64 tokens.
// #include "../common/grid.wgsl"
@compute @workgroup_size(8, 8)
fn main(
  @builtin(local_invocation_id) thread: vec3<u32>,
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
) {
  let id = 8u * workgroup_at(workgroup_id, num_workgroups, (params.rows + 63u) / 64u) + thread.xy;
  let row = id.x * 8u;
  let token = id.y * 8u;
  if (row >= params.rows || token >= params.tokens) {
    return;
  }
  let last_token = params.tokens - 1u;
  let t1 = min(token + 1u, last_token);
  let t2 = min(token + 2u, last_token);
  let t3 = min(token + 3u, last_token);
  let t4 = min(token + 4u, last_token);
  let t5 = min(token + 5u, last_token);
  let t6 = min(token + 6u, last_token);
  let t7 = min(token + 7u, last_token);
  var a0 = Eight(); // token 0, rows 0..7
  var a1 = Eight();
  var a2 = Eight();
  var a3 = Eight();
  var a4 = Eight();
  var a5 = Eight();
  var a6 = Eight();
  var a7 = Eight();
  for (var k = 0u; k < params.k; k += 4u) {
    let low = four_rows(row, k);
    let high = four_rows(row + 4u, k);
    a0 = plus(a0, x4(token, k), low, high);
    a1 = plus(a1, x4(t1, k), low, high);
    a2 = plus(a2, x4(t2, k), low, high);
    a3 = plus(a3, x4(t3, k), low, high);
    a4 = plus(a4, x4(t4, k), low, high);
    a5 = plus(a5, x4(t5, k), low, high);
    a6 = plus(a6, x4(t6, k), low, high);
    a7 = plus(a7, x4(t7, k), low, high);
  }
  store8(token, row, a0);
  store8(token + 1u, row, a1);
  store8(token + 2u, row, a2);
  store8(token + 3u, row, a3);
  store8(token + 4u, row, a4);
  store8(token + 5u, row, a5);
  store8(token + 6u, row, a6);
  store8(token + 7u, row, a7);
}

struct Eight {
  low: vec4<f32>,
  high: vec4<f32>,
}

fn plus(sum: Eight, x: vec4<f32>, low: mat4x4<f32>, high: mat4x4<f32>) -> Eight {
  return Eight(sum.low + x * low, sum.high + x * high);
}

fn store8(token: u32, row: u32, values: Eight) {
  store4(token, row, values.low);
  store4(token, row + 4u, values.high);
}
