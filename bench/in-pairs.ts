/**
 * Runs two things in turns, in alternating order, so that neither always follows the other and whatever slows the device down hits both.
 * @returns what each gave, pair by pair
 */
export async function inPairs<A, B>(
  pairs: number,
  first: () => Promise<A>,
  second: () => Promise<B>,
): Promise<readonly [A[], B[]]> {
  const [a, b]: [A[], B[]] = [[], []];
  for (let i = 0; i < pairs; i++) {
    const turns = [async () => a.push(await first()), async () => b.push(await second())];
    for (const take of i % 2 === 0 ? turns : turns.reverse()) await take();
  }
  return [a, b];
}
