// Formats int4-*-asym and int4-*-fzp: w = scale · (code − zero).
// #include "shared/int4_codes.wgsl"
// #include "shared/zero_groups.wgsl"
