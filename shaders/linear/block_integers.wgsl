// Weights in integer codes times activations in int8, whose scales are those of a token and 32 columns: four products in one instruction, sums of sixteen in
// i32, exact, then in f32. LANES threads share 4 rows x 4 tokens, and a tree adds their sums. The format has codes of MIDDLE and more (packed_of), k is a
// multiple of 32.
// #include "../common/grid.wgsl"
struct BlockParams {
  rows: u32,      // of this part of the weight
  k: u32,
  tokens: u32,
  row_start: u32, // of this part in the whole weight
  width: u32,     // of y
  has_bias: u32,
}

@group(0) @binding(0) var<storage, read> x_codes: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x_scales: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>; // anything readable where has_bias is 0
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> params: BlockParams;

override LANES: u32 = 32;
const THREADS = 64u;

fn row_length() -> u32 {
  return params.k;
}

// Of four tokens, four rows each.
alias Tile = array<vec4<f32>, 4>;

var<workgroup> parts: array<Tile, THREADS>;

fn codes_of_sixteen(words: Words) -> vec4<u32> {
  return vec4<u32>(packed_of(words, 0u), packed_of(words, 1u), packed_of(words, 2u), packed_of(words, 3u));
}

fn dot16(a: vec4<u32>, b: vec4<u32>) -> i32 {
  return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w);
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(local_invocation_index) thread: u32,
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
) {
  let rows_a_group = 4u * (THREADS / LANES);
  let group = workgroup_at(workgroup_id, num_workgroups, (params.rows + rows_a_group - 1u) / rows_a_group);
  let lane = thread % LANES;
  let row = (group.x * (THREADS / LANES) + thread / LANES) * 4u;
  let token = group.y * 4u;
  var tile = Tile();
  for (var part = lane; part < params.k / 16u; part += LANES) {
    // #repeat r 4
    let at$r = min(row + $ru, params.rows - 1u) * params.k + 16u * part;
    let w$r = codes_of_sixteen(words_at(at$r));
    // #end
    let scales = vec4<f32>(load_scale(at0 / GROUP), load_scale(at1 / GROUP), load_scale(at2 / GROUP), load_scale(at3 / GROUP));
    // #repeat t 4
    if (token + $tu < params.tokens) {
      let x = x_codes[(token + $tu) * (params.k / 16u) + part];
      let sums = vec4<i32>(dot16(w0, x), dot16(w1, x), dot16(w2, x), dot16(w3, x));
      tile[$t] += x_scales[((token + $tu) * (params.k / 16u) + part) / 2u] * scales * vec4<f32>(sums);
    }
    // #end
  }
  if (LANES > 1u) {
    parts[thread] = tile;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
      if (lane < width) {
        // #repeat t 4
        parts[thread][$t] += parts[thread + width][$t];
        // #end
      }
      workgroupBarrier();
    }
    tile = parts[thread];
  }
  if (lane > 0u) { return; }
  for (var t = 0u; t < min(4u, params.tokens - min(token, params.tokens)); t++) {
    for (var r = 0u; r < 4u; r++) {
      if (row + r >= params.rows) { break; }
      let column = params.row_start + row + r;
      var value = tile[t][r];
      if (params.has_bias != 0u) { value += bias[column]; }
      y[(token + t) * params.width + column] = value;
    }
  }
}
