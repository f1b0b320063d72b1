// Rows in the order of their values, largest first, earlier ones first among equals; with NORMALIZE divided by them (zeros stay). The values are sorted, too. A workgroup a row.
struct Params { rows: u32, length: u32, factor: f32 }

@group(0) @binding(0) var<storage, read> values: array<f32>;   // [rows]
@group(0) @binding(1) var<storage, read> x: array<f32>;        // [rows, length]
@group(0) @binding(2) var<storage, read_write> out: array<f32>; // [rows, length]
@group(0) @binding(3) var<storage, read_write> sorted: array<f32>; // [rows]: times `factor`
@group(0) @binding(4) var<uniform> params: Params;

override NORMALIZE: bool = false;
const THREADS = 64u;
var<workgroup> counts: array<u32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let row = group.x;
  let value = values[row];
  var before = 0u;
  for (var i = thread; i < params.rows; i += THREADS) {
    let other = values[i];
    before += select(0u, 1u, other > value || (other == value && i < row));
  }
  counts[thread] = before;
  workgroupBarrier();
  var place = 0u;
  for (var i = 0u; i < THREADS; i++) { place += counts[i]; }
  if (thread == 0u) { sorted[place] = value * params.factor; }
  let divisor = select(1.0, value, NORMALIZE && value > 0.0);
  for (var i = thread; i < params.length; i += THREADS) { out[place * params.length + i] = x[row * params.length + i] / divisor; }
}
