// How fast the device multiplies and adds in f16.
alias Vector = vec4<f16>;

// #include "arithmetic_float_body.wgsl"
