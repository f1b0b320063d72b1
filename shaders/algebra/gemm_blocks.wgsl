// #include "gaussian.wgsl"
// What the kernels of C = keep · C + factor · op(A) op(B) share: blocks of 4 x 4 elements of either operand, whichever way it is stored.
struct Params {
  rows: u32,       // of C
  columns: u32,    // of C
  inner: u32,      // columns of op(A), rows of op(B)
  part: u32,       // of them in a part: with several, each writes a C of its own
  a_start: u32,
  a_width: u32,    // elements from a row of A as it is stored to the next
  b_start: u32,
  b_width: u32,
  c_start: u32,
  c_row: u32,      // elements from a row of C to the next
  c_column: u32,   // and from a column to the next: C may be stored transposed
  c_part: u32,     // and from a part to the next
  keep: f32,
  factor: f32,
  symmetric: u32,  // 1: blocks above the diagonal of C are mirrored
  seed: u32,
}

@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

override A_TRANSPOSED: bool = false; // stored [inner, rows]
override B_TRANSPOSED: bool = false; // stored [columns, inner]
override RANDOM: bool = false;       // op(B) is stored nowhere: its elements are normal deviates of the seed

// Sums run over that many elements at a time, and their results are added up by themselves.
const STRETCH = 32u;

// Column i is that of op(A) at k + i, rows `row` on.
fn a_columns(row: u32, k: u32) -> mat4x4<f32> {
  let last = params.inner - 1u;
  let at = params.a_start + min(row, last_four(params.rows));
  return mat4x4<f32>(
    load_a(at + min(k, last) * params.a_width),
    load_a(at + min(k + 1u, last) * params.a_width),
    load_a(at + min(k + 2u, last) * params.a_width),
    load_a(at + min(k + 3u, last) * params.a_width),
  );
}

// Column i is row `row` + i of op(A), elements k on.
fn a_rows(row: u32, k: u32) -> mat4x4<f32> {
  let last = params.rows - 1u;
  let at = params.a_start + k;
  return mat4x4<f32>(
    load_a(at + min(row, last) * params.a_width),
    load_a(at + min(row + 1u, last) * params.a_width),
    load_a(at + min(row + 2u, last) * params.a_width),
    load_a(at + min(row + 3u, last) * params.a_width),
  );
}

// Of row k of op(B), not stored transposed, four columns.
fn b_four(column: u32, k: u32) -> vec4<f32> {
  if (RANDOM) {
    let at = k * ((params.columns + 3u) >> 2u) + (column >> 2u);
    return vec4<f32>(gaussian2(params.seed, 2u * at), gaussian2(params.seed, 2u * at + 1u));
  }
  return load_b(params.b_start + min(k, params.inner - 1u) * params.b_width + min(column, last_four(params.columns)));
}

// Of column `column` of op(B), stored transposed, four rows.
fn b_along(column: u32, k: u32) -> vec4<f32> {
  return load_b(params.b_start + k + min(column, params.columns - 1u) * params.b_width);
}

// Which of the rows k .. k + 3 of op(B) there are.
fn present(k: u32) -> vec4<bool> {
  return vec4<u32>(k) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.inner);
}

// A block whose columns are at k on, with zeros in place of those past the end, where NaN may be stored.
fn cut_columns(block: mat4x4<f32>, k: u32) -> mat4x4<f32> {
  let kept = present(k);
  let zero = vec4<f32>(0.0);
  return mat4x4<f32>(
    select(zero, block[0], kept.x),
    select(zero, block[1], kept.y),
    select(zero, block[2], kept.z),
    select(zero, block[3], kept.w),
  );
}

// The elements of the inner dimension that part `z` sums over, and where its C begins.
fn first_inner(z: u32) -> u32 {
  return z * params.part;
}

fn end_inner(z: u32) -> u32 {
  return min(params.inner, (z + 1u) * params.part);
}

fn store(row: u32, column: u32, z: u32, value: f32) {
  if (row >= params.rows || column >= params.columns || (params.symmetric != 0u && column > row)) { return; }
  let at = params.c_start + z * params.c_part + row * params.c_row + column * params.c_column;
  var result = params.factor * value;
  // Not a product with zero: what a buffer held before may be NaN.
  if (params.keep != 0.0) { result += params.keep * c[at]; }
  c[at] = result;
  if (params.symmetric != 0u) { c[params.c_start + z * params.c_part + column * params.c_row + row * params.c_column] = result; }
}
