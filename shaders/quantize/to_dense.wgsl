// Any format to a dense one. The matrix counts as one long row; a thread owns four weights. The kernel defines how they are stored:
// fn store4(at: u32, bits: vec4<u32>) puts the f32 bits of weights at .. at + 3 into data, those past params.count left out.
// #include "../common/each.wgsl"
@group(0) @binding(0) var<storage, read_write> data: array<u32>;
@group(0) @binding(1) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(2) var<uniform> params: Params;

struct Params { count: u32, k: u32 }

fn row_length() -> u32 { return params.count; }
fn columns() -> u32 { return params.k; }
fn place(row: u32, k: u32) -> vec2<u32> { return vec2<u32>(k / params.k, k % params.k); }

fn each(thread: u32) {
  let at = 4u * thread;
  if (at >= params.count) { return; }
  let bits = bitcast<vec4<u32>>(load4(0u, at));
  // The largest complement of an index: a zeroed buffer means that every weight was finite.
  let infinite = (bits & vec4<u32>(0x7fffffffu)) >= vec4<u32>(0x7f800000u);
  if (any(infinite)) {
    atomicMax(&bad, ~(at + select(select(select(3u, 2u, infinite.z), 1u, infinite.y), 0u, infinite.x)));
  }
  store4(at, bits);
}
