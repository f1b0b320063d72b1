// For each column the power of two that brings its largest magnitude to 1 .. 2, so that no square over- or underflows; 1 for a column of zeros.
// A workgroup takes sixteen columns.
struct Params { rows: u32, columns: u32, start: u32, row: u32, column: u32 }

@group(0) @binding(0) var<storage, read> x: array<u32>; // f32, stored whichever way
@group(0) @binding(1) var<storage, read_write> scales: array<u32>; // f32 [columns]
@group(0) @binding(2) var<uniform> params: Params;

const SPLIT = 16u;
var<workgroup> largest: array<u32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let column = group.x * 16u + (thread & 15u);
  var found = 0u;
  if (column < params.columns) {
    for (var row = thread >> 4u; row < params.rows; row += SPLIT) {
      found = max(found, x[params.start + row * params.row + column * params.column] & 0x7fffffffu);
    }
  }
  largest[thread] = found;
  workgroupBarrier();
  if (thread >= 16u || column >= params.columns) { return; }
  for (var i = 1u; i < SPLIT; i++) { found = max(found, largest[16u * i + thread]); }
  // Exponents add up to twice the bias; both ends stay normal numbers.
  let exponent = clamp(found >> 23u, 1u, 253u);
  scales[column] = select((254u - exponent) << 23u, 0x3f800000u, found == 0u);
}
