// Many right-hand sides on units that multiply small matrices: operands are rounded to f16, products and sums are f32. A workgroup makes 4 x 4 results of SIDE rows
// and SIDE tokens. It brings STEP columns at a time of its rows and tokens into workgroup memory, from where subgroups load matrices of SIDE x SIDE. Four subgroups
// have a strip of SIDE rows each; more of them share its results. An operand above 65504 is infinite. Who includes this says what SIDE is.
// #include "../common/grid.wgsl"
alias Left = subgroup_matrix_left<f16, SIDE, SIDE>;
alias Right = subgroup_matrix_right<f16, SIDE, SIDE>;
alias Result = subgroup_matrix_result<f32, SIDE, SIDE>;

const THREADS = 256u; // whole subgroups, and at least four, of up to 64 lanes
const ACROSS = 4u * SIDE;
const STEP = 2u * SIDE;

var<workgroup> held_w: array<f16, ACROSS * STEP>;     // [row][column]
var<workgroup> held_x: array<f16, ACROSS * STEP>;     // [token][column]
var<workgroup> results: array<f32, 4u * SIDE * SIDE>; // [strip][token][row], for SIDE tokens

@compute @workgroup_size(THREADS)
fn main(
  @builtin(local_invocation_index) thread: u32,
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(subgroup_size) lanes: u32,
) {
  let group = workgroup_at(workgroup_id, num_workgroups, (params.rows + ACROSS - 1u) / ACROSS);
  let first_row = group.x * ACROSS;
  let first_token = group.y * ACROSS;
  let last_row = params.rows - 1u;
  let last_token = params.tokens - 1u;
  let subgroup = thread / lanes;
  let strip = subgroup & 3u;
  let sharing = max(THREADS / lanes / 4u, 1u);
  let part = subgroup >> 2u;
  // #repeat c 4
  var a$c: Result; // of tokens SIDE $c .. SIDE $c + SIDE - 1
  // #end
  for (var k = 0u; k < params.k; k += STEP) {
    workgroupBarrier();
    for (var quad = thread; quad < ACROSS * STEP / 4u; quad += THREADS) {
      let one = quad / (STEP / 4u);
      let column = k + quad % (STEP / 4u) * 4u;
      var w = vec4<f16>(0.0);
      var x = vec4<f16>(0.0);
      if (column < params.k) {
        w = vec4<f16>(w4(min(first_row + one, last_row), column));
        x = vec4<f16>(x4(min(first_token + one, last_token), column));
      }
      // #repeat i 4
      held_w[4u * quad + $iu] = w[$i];
      held_x[4u * quad + $iu] = x[$i];
      // #end
    }
    workgroupBarrier();
    // #repeat c 4
    if ($cu % sharing == part) {
      for (var i = 0u; i < STEP; i += SIDE) {
        let w = subgroupMatrixLoad<Left, row_major>(&held_w, strip * SIDE * STEP + i, STEP);
        let x = subgroupMatrixLoad<Right, col_major>(&held_x, $cu * SIDE * STEP + i, STEP);
        a$c = subgroupMatrixMultiplyAccumulate(w, x, a$c);
      }
    }
    // #end
  }
  // #repeat c 4
  workgroupBarrier();
  if ($cu % sharing == part) { subgroupMatrixStore<col_major>(&results, strip * SIDE * SIDE, a$c, SIDE); }
  workgroupBarrier();
  for (var quad = thread; quad < SIDE * SIDE; quad += THREADS) {
    let token = quad / (SIDE / 4u) % SIDE;
    let row = quad / (SIDE * SIDE / 4u) * SIDE + quad % (SIDE / 4u) * 4u;
    let at = 4u * quad;
    store4(
      first_token + SIDE * $cu + token,
      first_row + row,
      vec4<f32>(results[at], results[at + 1u], results[at + 2u], results[at + 3u]),
    );
  }
  // #end
}
