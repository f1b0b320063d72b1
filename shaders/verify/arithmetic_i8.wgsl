// How fast the device multiplies and adds in packed int8: eight independent chains of vec4 a thread hide the latency of each
// operation. Named variables, since arrays may be spilled to memory; operands from a buffer, since constants may be folded.
// Operations of one turn: 8 chains x 4 x (4 multiplications + 4 additions) = 256.
// #include "../common/grid.wgsl"
@group(0) @binding(0) var<storage, read> operands: array<vec4<u32>, 2>;
@group(0) @binding(1) var<storage, read_write> results: array<vec4<u32>>;

override WIDTH = 64u;
override TURNS = 64u;

fn multiply_add(a: vec4<u32>, w: vec4<u32>) -> vec4<u32> {
  let products = vec4(
    dot4I8Packed(a.x, w.x),
    dot4I8Packed(a.y, w.y),
    dot4I8Packed(a.z, w.z),
    dot4I8Packed(a.w, w.w),
  );
  return bitcast<vec4<u32>>(products) + a;
}

@compute @workgroup_size(WIDTH)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let thread = workgroup_index(workgroup_id, num_workgroups) * WIDTH + lane;
  let w = operands[0];
  let start = operands[1] + vec4(thread);
  var a0 = start + vec4(0u);
  var a1 = start + vec4(1u);
  var a2 = start + vec4(2u);
  var a3 = start + vec4(3u);
  var a4 = start + vec4(4u);
  var a5 = start + vec4(5u);
  var a6 = start + vec4(6u);
  var a7 = start + vec4(7u);
  for (var turn = 0u; turn < TURNS; turn++) {
    a0 = multiply_add(a0, w);
    a1 = multiply_add(a1, w);
    a2 = multiply_add(a2, w);
    a3 = multiply_add(a3, w);
    a4 = multiply_add(a4, w);
    a5 = multiply_add(a5, w);
    a6 = multiply_add(a6, w);
    a7 = multiply_add(a7, w);
  }
  // Written, so that no compiler drops the work.
  if (thread < arrayLength(&results)) {
    results[thread] = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7;
  }
}
