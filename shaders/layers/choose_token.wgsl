// Chooses the next token from a row of logits, in one workgroup, by the definition in src/graph/reference/sampling.ts.
// Nothing is sorted. Logits become integer keys of the same order; a radix descent of four passes finds the token at
// which the running sum of the order (largest first, lower index first among equals) reaches a target. One descent over
// counts cuts to the top k, one over probabilities to the top p, one over what is left draws the token. Probabilities
// are integers in units of 2^-31 of the largest, summed in 64 bits: the sums don't depend on the order of the threads.
// #include "pcg.wgsl"
// #include "u64.wgsl"
@group(0) @binding(0) var<storage, read> logits: array<u32>;
@group(0) @binding(1) var<storage, read_write> state: array<u32>;
@group(0) @binding(2) var<storage, read_write> ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> chosen: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

// Of `logits`, the elements start .. start + vocabulary - 1. top_k is 0 for no cut. top_p counts 2^-32, 0 for no cut.
struct Params {
  start: u32,
  vocabulary: u32,
  tokens: u32,
  capacity: u32,
  greedy: u32,
  inverse_temperature: f32,
  top_k: u32,
  top_p: u32,
}

override WORKGROUP: u32 = 256;
const BINS = 256u;

const BY_COUNT = 0u;
const BY_SHARE = 1u;
const BY_DRAW = 2u;

// The tokens still eligible: keys above cut_key, and the first cut_ties tokens of that key.
var<workgroup> cut_key: u32;
var<workgroup> cut_ties: u32;
var<workgroup> largest: atomic<u32>;
var<workgroup> bad: atomic<u32>;
var<workgroup> lows: array<atomic<u32>, BINS>;
var<workgroup> highs: array<atomic<u32>, BINS>;
var<workgroup> ties: array<atomic<u32>, BINS>;
var<workgroup> prefix: u32;
var<workgroup> remaining: vec2<u32>;
var<workgroup> counts: array<u32, WORKGROUP>;
var<workgroup> token: u32;

// Keys compare as unsigned integers like the logits; both zeros have one.
fn key_of(i: u32) -> u32 {
  let bits = logits[params.start + i];
  return select(bits | 0x80000000u, select(~bits, 0x80000000u, bits == 0x80000000u), bits >= 0x80000000u);
}

fn value_of(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}

// The probability of a key, in units of 2^-31 of the largest.
fn mass_of(key: u32) -> u32 {
  let z = max((value_of(key) - value_of(atomicLoad(&largest))) * params.inverse_temperature, -50.0);
  return u32(min(exp(z), 1.0) * 0x1p31 + 0.5);
}

fn add_to_bin(bin: u32, amount: vec2<u32>) {
  let before = atomicAdd(&lows[bin], amount.x);
  let carry = select(0u, 1u, before + amount.x < before);
  atomicAdd(&highs[bin], amount.y + carry);
}

fn bin_sum(bin: u32) -> vec2<u32> {
  return vec2<u32>(atomicLoad(&lows[bin]), atomicLoad(&highs[bin]));
}

// Cuts to the shortest prefix of the order whose sum reaches the target: `amount` tokens, or `amount` · 2^-32 of the sum.
fn descend(kind: u32, amount: u32, thread: u32) {
  if (thread == 0u) {
    prefix = 0u;
    remaining = vec2<u32>(amount, 0u);
  }
  for (var level = 0u; level < 4u; level++) {
    for (var bin = thread; bin < BINS; bin += WORKGROUP) {
      atomicStore(&lows[bin], 0u);
      atomicStore(&highs[bin], 0u);
      atomicStore(&ties[bin], 0u);
    }
    workgroupBarrier();
    let shift = 24u - 8u * level;
    // The bits above: none at level 0, where a shift by 32 would not do.
    let above = (prefix >> shift) >> 8u;
    for (var i = thread; i < params.vocabulary; i += WORKGROUP) {
      let key = key_of(i);
      if (key > cut_key && ((key >> shift) >> 8u) == above) {
        let bin = (key >> shift) & 0xffu;
        atomicAdd(&ties[bin], 1u);
        add_to_bin(bin, vec2<u32>(select(mass_of(key), 1u, kind == BY_COUNT), 0u));
      }
    }
    workgroupBarrier();
    if (thread == 0u) {
      if (cut_ties > 0u && ((cut_key >> shift) >> 8u) == above) {
        let bin = (cut_key >> shift) & 0xffu;
        atomicAdd(&ties[bin], cut_ties);
        add_to_bin(bin, multiply(cut_ties, select(mass_of(cut_key), 1u, kind == BY_COUNT)));
      }
      if (level == 0u && kind != BY_COUNT) {
        var sum = vec2<u32>(0u);
        for (var bin = 0u; bin < BINS; bin++) { sum = add64(sum, bin_sum(bin)); }
        let product = scale64(sum, amount);
        // At least the share: rounded up. More than the draw: the next integer.
        let up = kind == BY_DRAW || product.z > 0u || (product.x | product.y) == 0u;
        remaining = add64(product.xy, vec2<u32>(select(0u, 1u, up), 0u));
      }
      var found = 0u;
      for (var step = 0u; step < BINS; step++) {
        let bin = BINS - 1u - step;
        if (atomicLoad(&ties[bin]) == 0u) { continue; }
        found = bin;
        let sum = bin_sum(bin);
        if (!less64(sum, remaining)) { break; }
        remaining = subtract64(remaining, sum);
      }
      prefix |= found << shift;
      if (level == 3u) {
        // The tokens of one key weigh the same: the fewest that reach what remains, by bisection.
        let mass = select(mass_of(prefix), 1u, kind == BY_COUNT);
        var low = 1u;
        var high = max(atomicLoad(&ties[found]), 1u);
        while (low < high) {
          let middle = low + (high - low) / 2u;
          if (less64(multiply(middle, mass), remaining)) { low = middle + 1u; } else { high = middle; }
        }
        cut_key = prefix;
        cut_ties = low;
      }
    }
    workgroupBarrier();
  }
}

// The token that is number `rank` (from 1) among those of key `key`.
fn find(key: u32, rank: u32, thread: u32) {
  let chunk = (params.vocabulary + WORKGROUP - 1u) / WORKGROUP;
  let first = min(thread * chunk, params.vocabulary);
  let end = min(first + chunk, params.vocabulary);
  var count = 0u;
  for (var i = first; i < end; i++) { count += select(0u, 1u, key_of(i) == key); }
  counts[thread] = count;
  workgroupBarrier();
  var before = 0u;
  for (var t = 0u; t < thread; t++) { before += counts[t]; }
  if (before < rank && rank <= before + count) {
    for (var i = first; i < end; i++) {
      if (key_of(i) == key) {
        before++;
        if (before == rank) { token = i; }
      }
    }
  }
  workgroupBarrier();
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) thread: u32) {
  if (thread == 0u) {
    cut_key = 0u;
    cut_ties = 0u;
    token = 0u;
    atomicStore(&largest, 0u);
    atomicStore(&bad, 0xffffffffu);
  }
  workgroupBarrier();
  var mine = 0u;
  for (var i = thread; i < params.vocabulary; i += WORKGROUP) {
    mine = max(mine, key_of(i));
    if ((logits[params.start + i] & 0x7fffffffu) >= 0x7f800000u) { atomicMin(&bad, i); }
  }
  atomicMax(&largest, mine);
  workgroupBarrier();

  if (params.greedy == 1u) {
    find(atomicLoad(&largest), 1u, thread);
  } else {
    if (params.top_k > 0u && params.top_k < params.vocabulary) { descend(BY_COUNT, params.top_k, thread); }
    if (params.top_p > 0u) { descend(BY_SHARE, params.top_p, thread); }
    // The upper 24 bits of the hash, as in randomUniform.
    let draw = pcg(pcg(state[2]) + state[0] + params.tokens) & 0xffffff00u;
    descend(BY_DRAW, draw, thread);
    find(cut_key, cut_ties, thread);
  }

  // Everybody has read the state by now.
  if (thread == 0u) {
    let failed = atomicLoad(&bad);
    if (failed != 0xffffffffu) {
      token = 0u;
      if (state[3] == 0u) { state[3] = failed + 1u; }
    }
    ids[0] = token;
    if (state[1] < params.capacity) { chosen[state[1]] = token; }
    state[0] += params.tokens;
    state[1]++;
  }
}
