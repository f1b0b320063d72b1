// PCG's RXS-M-XS permutation as a hash of u32 to u32 (Jarzynski and Olano, 2020); src/graph/reference/random.ts.
fn pcg(input: u32) -> u32 {
  let state = input * 747796405u + 2891336453u;
  let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
  return (word >> 22u) ^ word;
}
