// Many right-hand sides: each thread owns a register tile of 4 rows x 4 tokens and walks k in vec4 steps, without workgroup memory:
// 64 multiply-adds for 8 loads. A workgroup of 8 x 8 threads covers 32 rows x 32 tokens.
const SIDE = 8u;

@compute @workgroup_size(SIDE, SIDE)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = id.x * 4u;
  let token = id.y * 4u;
  if (row >= params.rows || token >= params.tokens) {
    return;
  }
  let last_row = params.rows - 1u;
  let last_token = params.tokens - 1u;
  let r1 = min(row + 1u, last_row);
  let r2 = min(row + 2u, last_row);
  let r3 = min(row + 3u, last_row);
  let t1 = min(token + 1u, last_token);
  let t2 = min(token + 2u, last_token);
  let t3 = min(token + 3u, last_token);
  var a0 = vec4<f32>(0.0); // token 0, rows 0..3
  var a1 = vec4<f32>(0.0);
  var a2 = vec4<f32>(0.0);
  var a3 = vec4<f32>(0.0);
  for (var k = 0u; k < params.k; k += 4u) {
    let w0 = w4(row, k);
    let w1 = w4(r1, k);
    let w2 = w4(r2, k);
    let w3 = w4(r3, k);
    let x0 = x4(token, k);
    let x1 = x4(t1, k);
    let x2 = x4(t2, k);
    let x3 = x4(t3, k);
    a0 += vec4(dot(w0, x0), dot(w1, x0), dot(w2, x0), dot(w3, x0));
    a1 += vec4(dot(w0, x1), dot(w1, x1), dot(w2, x1), dot(w3, x1));
    a2 += vec4(dot(w0, x2), dot(w1, x2), dot(w2, x2), dot(w3, x2));
    a3 += vec4(dot(w0, x3), dot(w1, x3), dot(w2, x3), dot(w3, x3));
  }
  for (var i = 0u; i < 4u; i++) {
    store(token, row + i, a0[i]);
    store(token + 1u, row + i, a1[i]);
    store(token + 2u, row + i, a2[i]);
    store(token + 3u, row + i, a3[i]);
  }
}
