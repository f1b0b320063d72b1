// Formats int4-g*, int4-row and q4_0: w = scale · (code − 8).
// #include "shared/int4_codes.wgsl"
const MIDDLE = 8;
// #include "shared/middle_groups.wgsl"
