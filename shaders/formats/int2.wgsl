// Formats int2-g* and int2-row: w = scale · (code − 2).
// #include "shared/int2_codes.wgsl"
const MIDDLE = 2;
// #include "shared/middle_groups.wgsl"
