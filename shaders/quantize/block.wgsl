// The block of 32 weights at hand: each is loaded once, because loads take most of the time that a software device compiles.
var<private> block: array<vec4<f32>, 8>;
