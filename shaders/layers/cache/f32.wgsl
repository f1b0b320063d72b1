// Keys and values in f32.
// #include "eight.wgsl"
// #repeat c 2
@group(1) @binding($c) var<storage, read_write> cache$c: array<vec4<f32>>;

fn cached$c(head: u32, i: u32) -> Eight {
  let at = 2u * (head * eights() + i);
  return Eight(cache$c[at], cache$c[at + 1u]);
}

fn keep$c(head: u32, group: u32, given: Group) {
  var values = given;
  let at = 2u * (head * eights() + 4u * group);
  for (var i = 0u; i < 2u * min(eights() - 4u * group, 4u); i++) { cache$c[at + i] = values[i]; }
}
// #end
