// The `keep` largest of a group of GROUP keys, those behind them being 0: a sorting network (Batcher's odd-even merge sort) finds the key from which on
// they are kept; of equal ones the first are.
override GROUP: u32 = 4;
alias Group = array<u32, 16>;

fn exchange(keys: ptr<function, Group>, i: u32, j: u32) {
  let a = (*keys)[i];
  let b = (*keys)[j];
  (*keys)[i] = max(a, b);
  (*keys)[j] = min(a, b);
}

fn sort2(keys: ptr<function, Group>, at: u32) {
  exchange(keys, at, at + 1u);
}

fn sort4(keys: ptr<function, Group>, at: u32) {
  sort2(keys, at);
  sort2(keys, at + 2u);
  exchange(keys, at, at + 2u);
  exchange(keys, at + 1u, at + 3u);
  exchange(keys, at + 1u, at + 2u);
}

fn sort8(keys: ptr<function, Group>, at: u32) {
  sort4(keys, at);
  sort4(keys, at + 4u);
  // #repeat i 4
  exchange(keys, at + $iu, at + $iu + 4u);
  // #end
  exchange(keys, at + 2u, at + 4u);
  exchange(keys, at + 3u, at + 5u);
  exchange(keys, at + 1u, at + 2u);
  exchange(keys, at + 3u, at + 4u);
  exchange(keys, at + 5u, at + 6u);
}

fn sort16(keys: ptr<function, Group>) {
  sort8(keys, 0u);
  sort8(keys, 8u);
  // #repeat i 8
  exchange(keys, $iu, $iu + 8u);
  // #end
  // #repeat i 4
  exchange(keys, $iu + 4u, $iu + 8u);
  // #end
  // #repeat i 3
  exchange(keys, 4u * $iu + 2u, 4u * $iu + 4u);
  exchange(keys, 4u * $iu + 3u, 4u * $iu + 5u);
  // #end
  // #repeat i 7
  exchange(keys, 2u * $iu + 1u, 2u * $iu + 2u);
  // #end
}

// Bit i: key i is kept.
fn kept_of(keys: Group, keep: u32) -> u32 {
  var sorted = keys;
  if (GROUP <= 2u) { sort2(&sorted, 0u); } else if (GROUP <= 4u) { sort4(&sorted, 0u); } else if (GROUP <= 8u) { sort8(&sorted, 0u); } else { sort16(&sorted); }
  var least = sorted[0];
  // #repeat i 15
  if ($iu + 2u < GROUP) { least = select(least, sorted[$i + 1], keep == $iu + 2u); }
  // #end
  var above = 0u;
  var equal = 0u;
  // #repeat i 16
  if ($iu < GROUP) { above |= select(0u, 1u << $iu, keys[$i] > least); equal |= select(0u, 1u << $iu, keys[$i] == least); }
  // #end
  var left = keep - countOneBits(above);
  // #repeat i 16
  if ($iu < GROUP) { let take = min(left, (equal >> $iu) & 1u); above |= take << $iu; left -= take; }
  // #end
  return above;
}
