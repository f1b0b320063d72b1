// Formats int3-*-asym and int3-*-fzp: w = scale · (code − zero).
// #include "shared/int3_codes.wgsl"
// #include "shared/zero_groups.wgsl"
