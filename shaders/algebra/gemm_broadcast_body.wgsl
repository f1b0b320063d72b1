// Rows of C on the lanes of a subgroup, op(B) broadcast: a thread owns 4 rows x 8 columns. Four rows of op(B) of eight columns are loaded once a
// subgroup, a vec4 by each of eight lanes. Wins where a load costs more than an exchange between lanes, as on CPUs, whose loads go lane by lane.
// Any subgroup of 8 lanes or more.
const THREADS = 64u;

fn columns_of_a(row: u32, k: u32) -> mat4x4<f32> {
  if (A_TRANSPOSED) { return a_columns(row, k); }
  return transpose(a_rows(row, k));
}

// Of op(B), rows k .. k + 3 and columns `column` .. + 7: lane l has row k + l / 2, four columns, or where B is stored transposed column l, four rows.
fn held_of_b(column: u32, k: u32, lane: u32) -> vec4<f32> {
  if (B_TRANSPOSED) { return select(vec4<f32>(0.0), b_along(column + lane, k), present(k)); }
  let row = k + (lane >> 1u);
  return select(vec4<f32>(0.0), b_four(column + 4u * (lane & 1u), row), row < params.inner);
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(local_invocation_index) thread: u32,
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(subgroup_invocation_id) subgroup_lane: u32,
) {
  let column = group.x * 8u;
  let row = (group.y * THREADS + thread) * 4u;
  let lane = subgroup_lane & 7u;
  // #repeat j 8
  var total$j = vec4<f32>();
  // #end
  let end = end_inner(group.z);
  for (var start = first_inner(group.z); start < end; start += STRETCH) {
    // #repeat j 8
    var sum$j = vec4<f32>();
    // #end
    for (var k = start; k < min(start + STRETCH, end); k += 4u) {
      var block = columns_of_a(row, k);
      if (k + 4u > params.inner) { block = cut_columns(block, k); }
      let held = held_of_b(column, k, lane);
      if (B_TRANSPOSED) {
        // #repeat j 8
        sum$j += block * subgroupBroadcast(held, $ju);
        // #end
      } else {
        // #repeat i 4
        {
          let low = subgroupBroadcast(held, 2u * $iu);
          let high = subgroupBroadcast(held, 2u * $iu + 1u);
          sum0 += block[$i] * low.x;
          sum1 += block[$i] * low.y;
          sum2 += block[$i] * low.z;
          sum3 += block[$i] * low.w;
          sum4 += block[$i] * high.x;
          sum5 += block[$i] * high.y;
          sum6 += block[$i] * high.z;
          sum7 += block[$i] * high.w;
        }
        // #end
      }
    }
    // #repeat j 8
    total$j += sum$j;
    // #end
  }
  var totals = array<vec4<f32>, 8>(total0, total1, total2, total3, total4, total5, total6, total7);
  for (var j = 0u; j < 8u; j++) {
    let four = totals[j];
    for (var i = 0u; i < 4u; i++) { store(row + i, column + j, group.z, four[i]); }
  }
}
