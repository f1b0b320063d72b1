// What all caches share. A cache holds heads of positions, each rounded up to whole eights of numbers, which are read an eight at a time and written in groups
// of 32. The kernel declares `fn head_dim() -> u32`. Keys are cache 0, values cache 1; `head` counts heads of all positions.
struct Eight { low: vec4<f32>, high: vec4<f32> }

alias Group = array<vec4<f32>, 8>;

fn eights() -> u32 {
  return (head_dim() + 7u) / 8u;
}

fn groups() -> u32 {
  return (head_dim() + 31u) / 32u;
}

// Numbers of a group that are a head's; those behind it are 0.
fn inside(group: u32) -> u32 {
  return min(head_dim() - 32u * group, 32u);
}
