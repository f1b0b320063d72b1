// How fast the device multiplies and adds floats; the kernel defines alias Vector, four of them. Eight independent chains of vec4 a
// thread hide the latency of each operation. Named variables, since arrays may be spilled to memory; operands from a buffer, since
// constants may be folded. Operations of one turn: 8 chains x 4 steps x 4 x (multiplication + addition) = 256.
// #include "../common/grid.wgsl"
@group(0) @binding(0) var<storage, read> operands: array<vec4<f32>, 2>;
@group(0) @binding(1) var<storage, read_write> results: array<vec4<f32>>;

override WIDTH = 64u;
override TURNS = 64u;

// Four steps of one chain.
fn advance(a: Vector, m: Vector, c: Vector) -> Vector {
  return (((a * m + c) * m + c) * m + c) * m + c;
}

@compute @workgroup_size(WIDTH)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let thread = workgroup_index(workgroup_id, num_workgroups) * WIDTH + lane;
  let m = Vector(operands[0]);
  let c = Vector(operands[1]);
  let start = Vector(vec4(f32(thread & 255u)) / 256.0);
  var a0 = start + 0.0;
  var a1 = start + 1.0;
  var a2 = start + 2.0;
  var a3 = start + 3.0;
  var a4 = start + 4.0;
  var a5 = start + 5.0;
  var a6 = start + 6.0;
  var a7 = start + 7.0;
  for (var turn = 0u; turn < TURNS; turn++) {
    a0 = advance(a0, m, c);
    a1 = advance(a1, m, c);
    a2 = advance(a2, m, c);
    a3 = advance(a3, m, c);
    a4 = advance(a4, m, c);
    a5 = advance(a5, m, c);
    a6 = advance(a6, m, c);
    a7 = advance(a7, m, c);
  }
  // Written, so that no compiler drops the work.
  if (thread < arrayLength(&results)) {
    results[thread] = vec4<f32>(a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7);
  }
}
