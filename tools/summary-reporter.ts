import type { Reporter, SerializedError, TestModule, TestRunEndReason } from 'vitest/node';

/** Ends every test run with a line for each failure and a plain last one, `N passed, N failed`; a file that did not load and a stray error count as failures. */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly SerializedError[], _reason: TestRunEndReason): void {
    let passed = 0;
    const failures = errors.map(({ message }) => `a stray error: ${message}`);
    for (const module of modules) {
      const before = failures.length;
      for (const test of module.children.allTests()) {
        const { state, errors: found } = test.result();
        if (state === 'passed') passed++;
        if (state === 'failed') {
          failures.push(`${module.relativeModuleId} > ${test.fullName}: ${found?.[0]?.message ?? 'no reason given'}`);
        }
      }
      if (failures.length === before && module.state() === 'failed') {
        failures.push(`${module.relativeModuleId}: ${module.errors()[0]?.message ?? 'did not load'}`);
      }
    }
    for (const failure of failures) console.log(`failed: ${failure.replaceAll(/\s+/g, ' ').slice(0, 500)}`);
    console.log(`${passed} passed, ${failures.length} failed`);
  }
}
