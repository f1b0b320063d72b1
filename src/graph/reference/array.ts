/** What reference operations read: row-major numbers. They compute and return f64 whatever the inputs are. */
export type Numbers = Float64Array | Float32Array;
