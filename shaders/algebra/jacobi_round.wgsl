// One-sided Jacobi on the rows of X: each workgroup takes two blocks of sixteen rows, diagonalizes their Gram matrix by rotations in workgroup memory, and turns the
// rows of X and of the basis V by what these make. Pairs of blocks follow a tournament, so that the workgroups of a round share no rows. Larger
// norms move to earlier rows. `state`: 0 done, 1 largest share of what is allowed in this sweep, 2 sweeps, 3 largest norm² so far, 4 the same at the sweep's start.
struct Params { vectors: u32, length: u32, round: u32, blocks: u32, tolerance: f32, floor: f32 }

@group(0) @binding(0) var<storage, read_write> x: array<f32>;     // [vectors, length]
@group(0) @binding(1) var<storage, read_write> v: array<f32>;     // [vectors, vectors]
@group(0) @binding(2) var<storage, read_write> state: array<atomic<u32>>;
@group(0) @binding(3) var<uniform> params: Params;

const BLOCK = 16u;
const PAIR = 32u;
const THREADS = 64u;

var<workgroup> gram: array<f32, 1024>;         // [32, 32]
var<workgroup> turn: array<f32, 1024>;         // [32, 32]: new row i is Σ turn[j, i] row j
var<workgroup> piece: array<vec4<f32>, 256>;   // 32 columns of the rows: row-major for the product, column-major for the Gram matrix
var<workgroup> cosines: array<f32, 16>;
var<workgroup> sines: array<f32, 16>;
var<workgroup> worst: array<f32, THREADS>;
var<workgroup> finished: u32;
var<workgroup> low_block: u32;
var<workgroup> high_block: u32;

fn row_of(i: u32) -> u32 {
  return select(high_block * BLOCK + i - BLOCK, low_block * BLOCK + i, i < BLOCK);
}

// Pair `i` of 0 .. n / 2 − 1 in round `round` of a tournament of n, the smaller first.
fn pair_of(i: u32, round: u32, n: u32) -> vec2<u32> {
  let one = select((round + i) % (n - 1u), n - 1u, i == 0u);
  let other = (round + n - 1u - i) % (n - 1u);
  return vec2<u32>(min(one, other), max(one, other));
}

fn element(row: u32, column: u32, basis: bool) -> f32 {
  if (row >= params.vectors) { return 0.0; }
  if (basis) {
    if (column >= params.vectors) { return 0.0; }
    return v[row * params.vectors + column];
  }
  if (column >= params.length) { return 0.0; }
  return x[row * params.length + column];
}

fn make_gram(thread: u32) {
  let i = thread >> 3u;
  let j = thread & 7u;
  var sum = mat4x4<f32>();
  for (var start = 0u; start < params.length; start += PAIR) {
    for (var at = thread; at < 256u; at += THREADS) {
      let row = 4u * (at & 7u);
      let column = start + (at >> 3u);
      piece[at] = vec4<f32>(
        element(row_of(row), column, false),
        element(row_of(row + 1u), column, false),
        element(row_of(row + 2u), column, false),
        element(row_of(row + 3u), column, false),
      );
    }
    workgroupBarrier();
    var part = mat4x4<f32>();
    for (var k = 0u; k < PAIR; k++) {
      let left = piece[8u * k + i];
      let right = piece[8u * k + j];
      part += mat4x4<f32>(left.x * right, left.y * right, left.z * right, left.w * right);
    }
    sum += part;
    workgroupBarrier();
  }
  for (var r = 0u; r < 4u; r++) {
    for (var c = 0u; c < 4u; c++) {
      gram[(4u * i + r) * PAIR + 4u * j + c] = sum[r][c];
      turn[(4u * i + r) * PAIR + 4u * j + c] = select(0.0, 1.0, i == j && r == c);
    }
  }
  workgroupBarrier();
}

// How far the rows are from orthogonal, as a share of what is allowed, and the largest norm.
fn judge(thread: u32) {
  let most = sqrt(bitcast<f32>(atomicLoad(&state[4])));
  var share = 0.0;
  for (var at = thread; at < 1024u; at += THREADS) {
    let i = at / PAIR;
    let j = at % PAIR;
    if (i >= j) { continue; }
    let one = gram[i * (PAIR + 1u)];
    let other = gram[j * (PAIR + 1u)];
    let large = sqrt(max(one, other));
    let small = sqrt(min(one, other));
    if (large > 0.0) { share = max(share, abs(gram[at]) / (large * (params.tolerance * small + params.floor * most) + 0x1p-120)); }
  }
  worst[thread] = share;
  workgroupBarrier();
  if (thread == 0u) {
    for (var i = 1u; i < THREADS; i++) { share = max(share, worst[i]); }
    var norm = 0.0;
    for (var i = 0u; i < PAIR; i++) { norm = max(norm, gram[i * (PAIR + 1u)]); }
    atomicMax(&state[1], bitcast<u32>(share));
    atomicMax(&state[3], bitcast<u32>(norm));
  }
}

fn rotate(thread: u32) {
  for (var round = 0u; round < PAIR - 1u; round++) {
    if (thread < 16u) {
      let pair = pair_of(thread, round, PAIR);
      let one = gram[pair.x * (PAIR + 1u)];
      let other = gram[pair.y * (PAIR + 1u)];
      let both = gram[pair.x * PAIR + pair.y];
      var tangent = 0.0;
      if (abs(both) > 0x1p-30 * sqrt(one) * sqrt(other)) {
        let zeta = (other - one) / (2.0 * both);
        tangent = select(1.0, sign(zeta), zeta != 0.0) / (abs(zeta) + sqrt(1.0 + zeta * zeta));
      }
      let cosine = 1.0 / sqrt(1.0 + tangent * tangent);
      let sine = cosine * tangent;
      let swaps = other + tangent * both > one - tangent * both;
      cosines[thread] = select(cosine, sine, swaps);
      sines[thread] = select(sine, -cosine, swaps);
    }
    workgroupBarrier();
    for (var at = thread; at < 256u; at += THREADS) {
      let one = at >> 4u;
      let other = at & 15u;
      let p = pair_of(one, round, PAIR);
      let q = pair_of(other, round, PAIR);
      let c = cosines[one];
      let s = sines[one];
      let d = cosines[other];
      let t = sines[other];
      let xx = gram[p.x * PAIR + q.x];
      let xy = gram[p.x * PAIR + q.y];
      let yx = gram[p.y * PAIR + q.x];
      let yy = gram[p.y * PAIR + q.y];
      let upper = vec2<f32>(c * xx - s * yx, c * xy - s * yy);
      let lower = vec2<f32>(s * xx + c * yx, s * xy + c * yy);
      let off = select(1.0, 0.0, one == other);
      gram[p.x * PAIR + q.x] = d * upper.x - t * upper.y;
      gram[p.x * PAIR + q.y] = off * (t * upper.x + d * upper.y);
      gram[p.y * PAIR + q.x] = off * (d * lower.x - t * lower.y);
      gram[p.y * PAIR + q.y] = t * lower.x + d * lower.y;
    }
    for (var at = thread; at < 512u; at += THREADS) {
      let row = at >> 4u;
      let p = pair_of(at & 15u, round, PAIR);
      let c = cosines[at & 15u];
      let s = sines[at & 15u];
      let one = turn[row * PAIR + p.x];
      let other = turn[row * PAIR + p.y];
      turn[row * PAIR + p.x] = c * one - s * other;
      turn[row * PAIR + p.y] = s * one + c * other;
    }
    workgroupBarrier();
  }
}

// Hundreds of rotations leave the turn a little off orthonormal, always to the same side where roots are rounded so: T ← T (3 I − TᵀT) / 2 (Newton and Schulz).
fn polish(thread: u32) {
  let i = 4u * (thread >> 3u);
  let j = 4u * (thread & 7u);
  var sum = mat4x4<f32>();
  for (var k = 0u; k < PAIR; k++) {
    let left = four_of_turn(k * PAIR + i);
    let right = four_of_turn(k * PAIR + j);
    sum += mat4x4<f32>(left.x * right, left.y * right, left.z * right, left.w * right);
  }
  for (var r = 0u; r < 4u; r++) {
    for (var c = 0u; c < 4u; c++) { gram[(i + r) * PAIR + j + c] = select(0.0, 1.5, i + r == j + c) - 0.5 * sum[r][c]; }
  }
  workgroupBarrier();
  sum = mat4x4<f32>();
  for (var k = 0u; k < PAIR; k++) {
    let at = k * PAIR + j;
    let right = vec4<f32>(gram[at], gram[at + 1u], gram[at + 2u], gram[at + 3u]);
    sum += mat4x4<f32>(turn[i * PAIR + k] * right, turn[(i + 1u) * PAIR + k] * right, turn[(i + 2u) * PAIR + k] * right, turn[(i + 3u) * PAIR + k] * right);
  }
  workgroupBarrier();
  for (var r = 0u; r < 4u; r++) {
    for (var c = 0u; c < 4u; c++) { turn[(i + r) * PAIR + j + c] = sum[r][c]; }
  }
  workgroupBarrier();
}

fn four_of_turn(at: u32) -> vec4<f32> {
  return vec4<f32>(turn[at], turn[at + 1u], turn[at + 2u], turn[at + 3u]);
}

fn apply(thread: u32, basis: bool) {
  let i = thread >> 3u;
  let j = thread & 7u;
  let length = select(params.length, params.vectors, basis);
  for (var start = 0u; start < length; start += PAIR) {
    for (var at = thread; at < 256u; at += THREADS) {
      let row = row_of(at >> 3u);
      let column = start + 4u * (at & 7u);
      piece[at] = vec4<f32>(
        element(row, column, basis),
        element(row, column + 1u, basis),
        element(row, column + 2u, basis),
        element(row, column + 3u, basis),
      );
    }
    workgroupBarrier();
    var sum = mat4x4<f32>();
    for (var k = 0u; k < PAIR; k++) {
      let values = piece[8u * k + j];
      let at = k * PAIR + 4u * i;
      sum += mat4x4<f32>(turn[at] * values, turn[at + 1u] * values, turn[at + 2u] * values, turn[at + 3u] * values);
    }
    for (var r = 0u; r < 4u; r++) {
      let row = row_of(4u * i + r);
      for (var c = 0u; c < 4u; c++) {
        let column = start + 4u * j + c;
        if (row < params.vectors && column < length) {
          if (basis) { v[row * length + column] = sum[r][c]; } else { x[row * length + column] = sum[r][c]; }
        }
      }
    }
    workgroupBarrier();
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  if (thread == 0u) {
    finished = atomicLoad(&state[0]);
    let pair = pair_of(group.x, params.round, params.blocks);
    low_block = pair.x;
    high_block = pair.y;
  }
  if (workgroupUniformLoad(&finished) != 0u) { return; }
  make_gram(thread);
  judge(thread);
  workgroupBarrier();
  rotate(thread);
  polish(thread);
  apply(thread, false);
  apply(thread, true);
}
