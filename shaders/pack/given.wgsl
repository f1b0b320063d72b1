// What every packing kernel reads: a byte for the code of each of `count` weights, row-major.
struct Params { count: u32 }

@group(0) @binding(0) var<storage, read> given: array<u32>;
