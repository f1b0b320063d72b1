// The blocks of a matrix that are kept, one after another, each filled up with zeros; a thread has a value.
// #include "../common/each.wgsl"
struct Params { rows: u32, k: u32, kept: u32, slots: u32, block_rows: u32, block_columns: u32, width: u32, across: u32 }

@group(0) @binding(0) var<storage, read> blocks: array<u32>;  // [kept]: counted row by row of blocks
@group(0) @binding(1) var<storage, read> weights: array<f32>; // [rows, k]
@group(0) @binding(2) var<storage, read_write> values: array<f32>; // [kept, slots]
@group(0) @binding(3) var<uniform> params: Params;

fn each(thread: u32) {
  if (thread >= params.kept * params.slots) { return; }
  let block = blocks[thread / params.slots];
  let at = thread % params.slots;
  let row = block / params.across * params.block_rows + at / params.width;
  let column = block % params.across * params.block_columns + at % params.width;
  let inside = at / params.width < params.block_rows && at % params.width < params.block_columns;
  var value = 0.0;
  if (inside && row < params.rows && column < params.k) { value = weights[row * params.k + column]; }
  values[thread] = value;
}
