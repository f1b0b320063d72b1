// Draws a matrix on a canvas: single weights where they are as large as pixels, else cells of the pyramid. Left of the divider as it was, right of it as it is.
struct View {
  to_matrix: mat3x3f,        // pixels to (column, row)
  levels: array<vec4u, 8>,   // of each level of the pyramid: first cell, cells across, weights along a side
  rows: u32, k: u32, level: u32, show: u32,
  divider: f32, limit: f32, pixels: f32, pad: f32,
  overlay: u32, masked: u32, column: f32, row: f32,
  hatch: vec4f,
  line: vec4f,
}

@group(0) @binding(0) var<uniform> view: View;
@group(0) @binding(1) var<storage, read> before: array<f32>;
@group(0) @binding(2) var<storage, read> after: array<f32>;
@group(0) @binding(3) var<storage, read> mask: array<u32>;
@group(0) @binding(4) var<storage, read> cells: array<f32>;
@group(0) @binding(5) var<storage, read> palette: array<u32>; // 256 for magnitudes, 256 for signed numbers

const SIGNED = 0u;
const MAGNITUDE = 1u;
const ERROR = 2u;

@vertex
fn corner(@builtin(vertex_index) i: u32) -> @builtin(position) vec4f {
  return vec4f(f32(i & 1u) * 4.0 - 1.0, f32(i >> 1u) * 4.0 - 1.0, 0.0, 1.0);
}

struct Seen { means: vec2f, squares: vec3f, gone: f32 }

fn weight(row: u32, column: u32) -> Seen {
  let at = row * view.k + column;
  let a = before[at];
  let b = after[at];
  var gone = 0.0;
  if (view.masked == 1u) {
    let word = mask[row * ((view.k + 31u) / 32u) + column / 32u];
    gone = f32(((word >> (column % 32u)) & 1u) == 0u);
  }
  return Seen(vec2f(a, b), vec3f(a * a, b * b, (a - b) * (a - b)), gone);
}

fn seen(place: vec2f) -> Seen {
  let column = u32(place.x);
  let row = u32(place.y);
  if (view.level == 0u) { return weight(row, column); }
  if (view.level == 1u) {
    var sum = Seen();
    var count = 0.0;
    let left = column & ~1u;
    let top = row & ~1u;
    for (var y = top; y < min(top + 2u, view.rows); y++) {
      for (var x = left; x < min(left + 2u, view.k); x++) {
        let one = weight(y, x);
        sum = Seen(sum.means + one.means, sum.squares + one.squares, sum.gone + one.gone);
        count += 1.0;
      }
    }
    return Seen(sum.means / count, sum.squares / count, sum.gone / count);
  }
  let level = view.levels[view.level - 2u];
  let at = 6u * (level.x + (row / level.z) * level.y + column / level.z);
  return Seen(
    vec2f(cells[at], cells[at + 1u]),
    vec3f(cells[at + 2u], cells[at + 3u], cells[at + 4u]),
    cells[at + 5u],
  );
}

fn colour(signed: bool, x: f32) -> vec3f {
  let at = select(u32(clamp(x, 0.0, 1.0) * 255.0), 256u + u32(clamp(x * 0.5 + 0.5, 0.0, 1.0) * 255.0), signed);
  return unpack4x8unorm(palette[at]).rgb;
}

@fragment
fn pixel(@builtin(position) position: vec4f) -> @location(0) vec4f {
  let place = (view.to_matrix * vec3f(position.xy, 1.0)).xy;
  if (place.x < 0.0 || place.y < 0.0 || place.x >= f32(view.k) || place.y >= f32(view.rows)) { return vec4f(); }
  let here = seen(place);
  let after_side = position.x >= view.divider;
  let mean = select(here.means.x, here.means.y, after_side);
  let size = sqrt(select(here.squares.x, here.squares.y, after_side));
  var rgb: vec3f;
  if (view.show == ERROR) {
    rgb = colour(false, sqrt(here.squares.z) / view.limit);
  } else if (view.show == MAGNITUDE) {
    rgb = colour(false, size / view.limit);
  } else {
    rgb = colour(true, mean / view.limit);
  }
  let inside = fract(place);
  if (view.overlay == 1u && after_side && here.gone > 0.0) {
    // Large cells are hatched, so that their colour stays visible and nobody has to tell hues apart.
    let stripes = fract((position.x + position.y) / 7.0) < 0.42;
    let cover = select(0.9 * here.gone, select(0.25, 0.9, stripes), view.pixels >= 7.0);
    rgb = mix(rgb, view.hatch.rgb, cover);
  }
  if (view.pixels >= 10.0) {
    let edge = min(min(inside.x, 1.0 - inside.x), min(inside.y, 1.0 - inside.y)) * view.pixels;
    rgb = mix(rgb, view.line.rgb, 0.35 * f32(edge < 0.5));
  }
  if (floor(place.x) == view.column && floor(place.y) == view.row && view.pixels >= 4.0) {
    let edge = min(min(inside.x, 1.0 - inside.x), min(inside.y, 1.0 - inside.y)) * view.pixels;
    if (edge < 2.0) { rgb = view.line.rgb; }
  }
  return vec4f(rgb, 1.0);
}
