// Between the sweeps of one-sided Jacobi: done when nothing in the last was above what is allowed.
@group(0) @binding(0) var<storage, read_write> state: array<u32>;

@compute @workgroup_size(1)
fn main() {
  if (state[0] != 0u) { return; }
  // Bits of 1.0; NaN is above.
  if (state[2] > 0u && state[1] <= 0x3f800000u) {
    state[0] = 1u;
    return;
  }
  state[1] = 0u;
  state[2] += 1u;
  state[4] = state[3];
}
