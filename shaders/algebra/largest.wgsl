// What a matrix is like before it is factored. found[0]: bits of its largest magnitude, NaN and infinity above all; found[1]: the smallest index plus one, of an element
// that is not finite, counted from the end of 2^32. sums[workgroup]: Σ (factor · x)² over its elements, in a tree.
// #include "../common/grid.wgsl"
struct Params { count: u32, first: u32, factor: f32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> found: array<atomic<u32>>;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

const THREADS = 256u;
const EACH = 16u;
var<workgroup> squares: array<f32, THREADS>;
var<workgroup> magnitudes: array<u32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let group = workgroup_index(workgroup_id, num_workgroups);
  var sum = 0.0;
  var largest = 0u;
  for (var i = 0u; i < EACH; i++) {
    let at = (group * EACH + i) * THREADS + thread;
    if (at >= params.count) { break; }
    let value = x[at];
    let bits = bitcast<u32>(value) & 0x7fffffffu;
    if (bits >= 0x7f800000u) { atomicMax(&found[1], 0xffffffffu - (params.first + at)); }
    largest = max(largest, bits);
    sum += (params.factor * value) * (params.factor * value);
  }
  squares[thread] = sum;
  magnitudes[thread] = largest;
  workgroupBarrier();
  for (var width = THREADS / 2u; width > 0u; width >>= 1u) {
    if (thread < width) {
      squares[thread] += squares[thread + width];
      magnitudes[thread] = max(magnitudes[thread], magnitudes[thread + width]);
    }
    workgroupBarrier();
  }
  if (thread != 0u || group * EACH * THREADS >= params.count) { return; }
  sums[group] = squares[0];
  atomicMax(&found[0], magnitudes[0]);
}
