// What weights are ranked by: the bits of |w| or, WEIGHTED, of |w| · factor of the column, in f32, as integers. Under factors, weights, factors and
// products below 2^-126 count as zero, whatever the device makes of them. The kernel declares params.k and fn load(row, column).
@group(0) @binding(0) var<storage, read> factors: array<f32>;     // [k]
@group(0) @binding(1) var<storage, read_write> bad: atomic<u32>;  // the complement of the index of the first weight that is not finite

override WEIGHTED: bool = false;
const INFINITY = 0x7f800000u;
const NORMAL = 0x00800000u;

fn row_length() -> u32 { return params.k; }

fn factors4(column: u32) -> vec4<f32> {
  let last = params.k - 1u;
  return vec4<f32>(
    factors[min(column, last)],
    factors[min(column + 1u, last)],
    factors[min(column + 2u, last)],
    factors[min(column + 3u, last)],
  );
}

// Bits of |w| of four weights.
fn magnitudes4(row: u32, column: u32) -> vec4<u32> {
  let bits = bitcast<vec4<u32>>(load(row, column)) & vec4<u32>(0x7fffffffu);
  let infinite = bits >= vec4<u32>(INFINITY);
  if (any(infinite)) {
    let first = select(select(select(3u, 2u, infinite.z), 1u, infinite.y), 0u, infinite.x);
    atomicMax(&bad, ~(row * params.k + column + first));
  }
  return bits;
}

fn keys4(row: u32, column: u32) -> vec4<u32> {
  return weighted4(magnitudes4(row, column), column);
}

// The same of four weights from `column` on, of which `bits` are those of |w|.
fn weighted4(bits: vec4<u32>, column: u32) -> vec4<u32> {
  if (!WEIGHTED) { return bits; }
  let factor = factors4(column);
  let product = bitcast<vec4<u32>>(bitcast<vec4<f32>>(bits) * factor);
  let small = (bits < vec4<u32>(NORMAL)) | (bitcast<vec4<u32>>(factor) < vec4<u32>(NORMAL)) | (product < vec4<u32>(NORMAL));
  return select(min(product, vec4<u32>(INFINITY - 1u)), vec4<u32>(0u), small);
}

// Words of a mask that a row takes.
fn row_words() -> u32 { return (params.k + 31u) >> 5u; }
