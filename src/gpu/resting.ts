/** What Node has and a browser has not. */
const { setImmediate: nextTurn } = globalThis as { setImmediate?: (callback: () => void) => void };

/** Of the time that has been waited, how much of it the thread sleeps before it asks again; it hears of the end that much later. */
const SHARE = 1 / 8;
/** Milliseconds at most: as long as files and other callers of the event loop may have to wait. */
const LONGEST = 0.25;
/** Milliseconds below which a sleep is not worth its call. */
const SHORTEST = 0.02;

let cell: Int32Array | undefined;
let waiting = 0;
let turning = false;
let since = 0;

/**
 * Waits for what a device makes. In Node, Dawn asks the device at each turn of the event loop, which turns without rest until there is an answer:
 * that keeps one core busy, which a device that computes on the CPU needs itself. So the thread sleeps a little at each turn, the longer the wait is.
 */
export async function resting<T>(made: Promise<T>): Promise<T> {
  if (!nextTurn) return made;
  waiting++;
  since = performance.now();
  if (!turning) {
    turning = true;
    nextTurn(turn);
  }
  try {
    return await made;
  } finally {
    waiting--;
    since = performance.now();
  }
}

function turn(): void {
  if (waiting === 0) {
    turning = false;
    return;
  }
  const pause = Math.min(LONGEST, SHARE * (performance.now() - since));
  if (pause >= SHORTEST) {
    cell ??= new Int32Array(new SharedArrayBuffer(4));
    Atomics.wait(cell, 0, 0, pause);
  }
  nextTurn!(turn);
}
