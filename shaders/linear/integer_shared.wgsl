// What products of integers share: sums of w · x over codes of int8, four in a word, in i32; then
// y[t, row] = sum · scale_x[t] · scale_w[row] (+ bias[row]), row-major, f32. Another file says how words are multiplied: `Right` are four codes
// of a token, `Left` those of four rows, and `Sums` what adds their products up: to 256 words of each thread, then it has to become i32.
struct IntegerParams {
  rows: u32,      // of this part of the weight
  words: u32,     // of a row's codes
  tokens: u32,
  row_start: u32, // of this part in the whole weight
  width: u32,     // of y
  has_bias: u32,
  raw: u32,       // y receives the sums themselves
  y_start: u32,   // column of y at which the weight's rows begin
  adds: u32,      // to what y holds
}

@group(0) @binding(0) var<storage, read> x_codes: array<u32>;
@group(0) @binding(1) var<storage, read> x_scales: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>; // anything readable where has_bias is 0
@group(0) @binding(3) var<storage, read_write> y: array<u32>;
@group(0) @binding(4) var<uniform> params: IntegerParams;
@group(1) @binding(1) var<storage, read> weight_scales: array<f32>;

// Words that `Sums` may take up before they become i32.
const CHUNK_WORDS = 256u;

// A word of a token.
fn x_word(token: u32, word: u32) -> u32 {
  return x_codes[token * params.words + word];
}

fn store(token: u32, row: u32, sum: i32) {
  if (token >= params.tokens || row >= params.rows) {
    return;
  }
  let column = params.row_start + row;
  let at = token * params.width + params.y_start + column;
  if (params.raw != 0u) {
    y[at] = bitcast<u32>(sum);
    return;
  }
  var value = f32(sum) * x_scales[token] * weight_scales[row];
  if (params.has_bias != 0u) {
    value += bias[column];
  }
  if (params.adds != 0u) {
    value += bitcast<f32>(y[at]);
  }
  y[at] = bitcast<u32>(value);
}

fn store4(token: u32, row: u32, sums: vec4<i32>) {
  store(token, row, sums.x);
  store(token, row + 1u, sums.y);
  store(token, row + 2u, sums.z);
  store(token, row + 3u, sums.w);
}
