// Formats int3-g* and int3-row: w = scale · (code − 4).
// #include "shared/int3_codes.wgsl"
const MIDDLE = 4;
// #include "shared/middle_groups.wgsl"
