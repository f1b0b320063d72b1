/** Runs `work` for the latest of what is asked for, one at a time: what is asked for meanwhile replaces what still waits. */
export function latest<T>(
  work: (value: T) => Promise<void>,
  failed: (error: unknown) => void,
): (value: T) => Promise<void> {
  let waiting: { readonly value: T } | undefined;
  let running: Promise<void> | undefined;
  const run = async () => {
    while (waiting) {
      const { value } = waiting;
      waiting = undefined;
      try {
        await work(value);
      } catch (error) {
        failed(error);
      }
    }
    running = undefined;
  };
  return (value) => {
    waiting = { value };
    running ??= run();
    return running;
  };
}
