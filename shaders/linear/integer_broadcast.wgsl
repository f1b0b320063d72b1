// #include "integer_shared.wgsl"
// #include "integer_words_aligned.wgsl"
// #include "integer_broadcast_body.wgsl"
