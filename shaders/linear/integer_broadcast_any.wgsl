// #include "integer_shared.wgsl"
// #include "integer_words.wgsl"
// #include "integer_broadcast_body.wgsl"
