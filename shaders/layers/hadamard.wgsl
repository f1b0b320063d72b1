// Runs of BLOCK numbers times the orthonormal Hadamard matrix, by the fast Walsh-Hadamard transform in workgroup memory. A workgroup takes
// TILE numbers, one block or several. Scaled when loaded, so that sums leave f32's range only where results do.
// #include "../common/grid.wgsl"
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

struct Params { count: u32, block: u32, scale: f32 }

override WORKGROUP: u32 = 256;
override TILE: u32 = 1024;

var<workgroup> values: array<f32, TILE>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let start = workgroup_index(workgroup_id, num_workgroups) * TILE;
  if (start >= params.count) { return; }
  let tile = min(TILE, params.count - start);

  for (var i = thread; i < tile; i += WORKGROUP) { values[i] = x[start + i] * params.scale; }
  workgroupBarrier();
  for (var half = 1u; half < params.block; half <<= 1u) {
    // Butterflies of a stage lie apart: the one of number p starts at p with a zero bit put in at `half`.
    for (var p = thread; p < tile / 2u; p += WORKGROUP) {
      let i = p + (p & ~(half - 1u));
      let a = values[i];
      let b = values[i + half];
      values[i] = a + b;
      values[i + half] = a - b;
    }
    workgroupBarrier();
  }
  for (var i = thread; i < tile; i += WORKGROUP) { out[start + i] = values[i]; }
}
