// How fast the device multiplies and adds in f32.
alias Vector = vec4<f32>;

// #include "arithmetic_float_body.wgsl"
