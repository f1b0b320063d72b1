// The upper factor of a block on the diagonal, M = UᵀU, in place and mirrored below the diagonal. `done` holds, for the block's rows, what the rows
// above contribute: Σ U[k, i] U[k, j]. A pivot that is not above `least` stops the factorization: `failed` then holds its column plus one.
struct Params { n: u32, start: u32, count: u32, least: f32 }

@group(0) @binding(0) var<storage, read> done: array<f32>;          // [count, n − start]
@group(0) @binding(1) var<storage, read_write> m: array<f32>;       // [n, n]
@group(0) @binding(2) var<storage, read_write> failed: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

const BLOCK = 32u;

var<workgroup> block: array<f32, 1024>;

@compute @workgroup_size(BLOCK)
fn main(@builtin(local_invocation_index) j: u32) {
  let count = params.count;
  let start = params.start;
  let width = params.n - start;
  if (j < count) {
    for (var i = 0u; i <= j; i++) {
      block[BLOCK * i + j] = m[(start + i) * params.n + start + j] - done[i * width + j];
    }
  }
  workgroupBarrier();
  for (var i = 0u; i < count; i++) {
    let pivot = block[BLOCK * i + i];
    // Its bits, too: on some drivers a comparison can't tell NaN.
    let good = pivot > params.least && bitcast<u32>(pivot) < 0x7f800000u;
    let root = sqrt(select(1.0, pivot, good));
    if (j == 0u && !good && failed[0] == 0u) { failed[0] = start + i + 1u; }
    workgroupBarrier();
    if (j < count && j >= i) { block[BLOCK * i + j] = select(block[BLOCK * i + j] / root, root, j == i); }
    workgroupBarrier();
    if (j < count && j > i) {
      let u = block[BLOCK * i + j];
      for (var r = i + 1u; r <= j; r++) { block[BLOCK * r + j] -= block[BLOCK * i + r] * u; }
    }
    workgroupBarrier();
  }
  if (j >= count) { return; }
  for (var i = 0u; i <= j; i++) {
    let value = block[BLOCK * i + j];
    m[(start + i) * params.n + start + j] = value;
    m[(start + j) * params.n + start + i] = value;
  }
}
