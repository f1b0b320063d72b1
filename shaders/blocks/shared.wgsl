// What products with block-sparse matrices share: y[t, row] = Σ_b Σ_c values[b, row within b, c] · x[t, column of b + c] (+ bias[row]), over the blocks b that are
// stored of a row of blocks; row-major, f32. A block is a row of `values`: its rows one after another, each filled up to WIDTH.
// #include "../sparse/store.wgsl"
override BLOCK_ROWS: u32 = 32;
override BLOCK_COLUMNS: u32 = 32;
override WIDTH: u32 = 32; // BLOCK_COLUMNS, or the next multiple of 4
override EVEN: bool = false; // k is a multiple of 4, and so are blocks: four columns of x lie inside a row or outside

struct BlockParams {
  rows: u32,       // of this part of the weight
  k: u32,
  tokens: u32,
  row_start: u32,  // of this part in the whole weight
  width: u32,      // of y
  has_bias: u32,
  y_start: u32,    // column of y at which the weight's rows begin
  adds: u32,       // to what y holds
  block_rows: u32, // rows of blocks of this part
  slots: u32,      // values of a block, what fills it up included
}

@group(0) @binding(0) var<storage, read> x: array<f32>;     // [tokens, k]
@group(0) @binding(1) var<storage, read> lists: array<u32>; // the order in which rows of blocks are taken, their first blocks and the number of all, the column of each block
@group(0) @binding(4) var<uniform> params: BlockParams;

fn row_length() -> u32 { return params.slots; }

// The row of blocks that is taken as the `at`-th: those with most blocks first, so that none is left alone at the end.
fn block_row_of(at: u32) -> u32 { return lists[at]; }

// The first block of a row of blocks: the end of the row before.
fn first_block(block_row: u32) -> u32 { return lists[params.block_rows + block_row]; }

// The first column of a block.
fn first_column(block: u32) -> u32 { return lists[2u * params.block_rows + 1u + block] * BLOCK_COLUMNS; }

// Four columns of a token. Those behind the last are any: blocks hold zeros there.
fn x4(token: u32, column: u32) -> vec4<f32> {
  let first = token * params.k;
  if (EVEN) {
    let at = first + min(column, params.k - 4u);
    return vec4<f32>(x[at], x[at + 1u], x[at + 2u], x[at + 3u]);
  }
  let last = params.k - 1u;
  return vec4<f32>(
    x[first + min(column, last)],
    x[first + min(column + 1u, last)],
    x[first + min(column + 2u, last)],
    x[first + min(column + 3u, last)],
  );
}
