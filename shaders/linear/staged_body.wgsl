// Many right-hand sides, where threads run at once: 16 x 16 threads bring 16 columns at a time of 64 HALVES rows and as many tokens into workgroup memory, so
// that each is loaded and unpacked once a workgroup; a thread owns 4 HALVES rows x 4 HALVES tokens.
// #include "../common/grid.wgsl"
override HALVES: u32 = 2; // 1 or 2: with 2, all of the 16 KiB that every device has
const STEP = 16u;

// [STEP / 4][64 HALVES]: columns 4 q .. 4 q + 3 of a row, or of a token.
var<workgroup> held_w: array<vec4<f32>, 256u * HALVES>;
var<workgroup> held_x: array<vec4<f32>, 256u * HALVES>;

struct Sums {
  low: vec4<f32>,  // of rows 4 i .. 4 i + 3, for the thread's column i of the workgroup
  high: vec4<f32>, // of the rows 64 behind them
}

@compute @workgroup_size(256)
fn main(
  @builtin(local_invocation_index) thread: u32,
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
) {
  let side = 64u * HALVES;
  let group = workgroup_at(workgroup_id, num_workgroups, (params.rows + side - 1u) / side);
  let first_row = group.x * side;
  let first_token = group.y * side;
  let last_row = params.rows - 1u;
  let last_token = params.tokens - 1u;
  let i = thread & 15u;
  let line = thread >> 4u;
  // #repeat t 8
  var a$t = Sums(); // of token line + 16 $t
  // #end
  for (var k = 0u; k < params.k; k += STEP) {
    workgroupBarrier();
    for (var at = thread; at < 4u * side; at += 256u) {
      let quad = at & 3u;
      let one = at >> 2u;
      let column = k + 4u * quad;
      var w = vec4<f32>(0.0);
      var x = vec4<f32>(0.0);
      if (column < params.k) {
        w = w4(min(first_row + one, last_row), column);
        x = x4(min(first_token + one, last_token), column);
      }
      // Rows that neighbouring threads read together lie together: 4 i + j at 16 j + i.
      held_w[quad * side + (one & ~63u) + ((one & 3u) << 4u) + ((one >> 2u) & 15u)] = w;
      held_x[quad * side + one] = x;
    }
    workgroupBarrier();
    for (var quad = 0u; quad < STEP / 4u; quad++) {
      let at = quad * side + i;
      let low = mat4x4<f32>(held_w[at], held_w[at + 16u], held_w[at + 32u], held_w[at + 48u]);
      var high = mat4x4<f32>();
      if (HALVES > 1u) { high = mat4x4<f32>(held_w[at + 64u], held_w[at + 80u], held_w[at + 96u], held_w[at + 112u]); }
      // #repeat t 8
      if ($tu < 4u * HALVES) {
        let x = held_x[quad * side + line + 16u * $tu];
        a$t.low += x * low;
        if (HALVES > 1u) { a$t.high += x * high; }
      }
      // #end
    }
  }
  let row = first_row + 4u * i;
  // #repeat t 8
  if ($tu < 4u * HALVES) {
    store4(first_token + line + 16u * $tu, row, a$t.low);
    if (HALVES > 1u) { store4(first_token + line + 16u * $tu, row + 64u, a$t.high); }
  }
  // #end
}
