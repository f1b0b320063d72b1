// The largest |G − I|, as bits, so that NaN counts as larger than all; one workgroup.
struct Params { n: u32 }

@group(0) @binding(0) var<storage, read> gram: array<f32>; // [n, n]
@group(0) @binding(1) var<storage, read_write> deviation: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

const THREADS = 256u;
var<workgroup> largest: array<u32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) thread: u32) {
  let n = params.n;
  var found = 0u;
  for (var at = thread; at < n * n; at += THREADS) {
    let wanted = select(0.0, 1.0, at % (n + 1u) == 0u);
    found = max(found, bitcast<u32>(gram[at] - wanted) & 0x7fffffffu);
  }
  largest[thread] = found;
  workgroupBarrier();
  if (thread != 0u) { return; }
  for (var i = 1u; i < THREADS; i++) { found = max(found, largest[i]); }
  deviation[0] = found;
}
