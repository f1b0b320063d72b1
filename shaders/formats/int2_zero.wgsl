// Formats int2-*-asym and int2-*-fzp: w = scale · (code − zero).
// #include "shared/int2_codes.wgsl"
// #include "shared/zero_groups.wgsl"
