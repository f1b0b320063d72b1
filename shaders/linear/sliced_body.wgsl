// A small batch, whose rows and tokens are too few to occupy a GPU: the columns are shared, too. A workgroup covers 32 rows x 16 tokens; each of its 8 slices of
// 32 threads sums every eighth run of 16 columns, a thread 4 rows x 4 tokens of them, and the slices' sums are added in order.
// #include "../common/grid.wgsl"
const SLICES = 8u;
const RUN = 16u;

var<workgroup> sums: array<vec4<f32>, SLICES * 128u>; // [SLICES][16 tokens][8 x 4 rows]

@compute @workgroup_size(256)
fn main(
  @builtin(local_invocation_index) thread: u32,
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
) {
  let group = workgroup_at(workgroup_id, num_workgroups, (params.rows + 31u) / 32u);
  let first_row = group.x * 32u;
  let first_token = group.y * 16u;
  let slice = thread >> 5u;
  let four = thread & 7u;
  let token = 4u * ((thread >> 3u) & 3u);
  let last_token = params.tokens - 1u;
  // #repeat t 4
  let token$t = min(first_token + token + $tu, last_token);
  var a$t = vec4<f32>(0.0);
  // #end
  for (var run = RUN * slice; run < params.k; run += RUN * SLICES) {
    for (var k = run; k < min(run + RUN, params.k); k += 4u) {
      let w = four_rows(first_row + 4u * four, k);
      // #repeat t 4
      a$t += x4(token$t, k) * w;
      // #end
    }
  }
  // #repeat t 4
  sums[slice * 128u + (token + $tu) * 8u + four] = a$t;
  // #end
  workgroupBarrier();
  let pair = thread & 15u;
  let own = thread >> 4u;
  var total = vec2<f32>(0.0);
  for (var s = 0u; s < SLICES; s++) {
    let part = sums[s * 128u + own * 8u + (pair >> 1u)];
    total += select(part.xy, part.zw, (pair & 1u) == 1u);
  }
  store2(first_token + own, first_row + 2u * pair, total);
}
