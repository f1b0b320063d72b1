import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Claim } from '../claim.ts';

/** Tests that compare kernels with their CPU references over random shapes, and codes and scales bit for bit. */
const SUITES = [
  ...['layers', 'algebra', 'lowrank', 'prune', 'shrink', 'sparse'].map((folder) => `test/gpu/${folder}`),
  ...['linear', 'linear-epilogue', 'sum-linear', 'integer-linear', 'block-integer-linear'].map(testOf),
  ...['quantize', 'hqq', 'importance', 'pack', 'compare-logits'].map(testOf),
];

function testOf(name: string): string {
  return `test/gpu/${name}.test.ts`;
}

/** What of Vitest's JSON report is read. */
interface Results {
  readonly numPassedTests: number;
  readonly numTotalTests: number;
  readonly testResults: readonly { readonly assertionResults: readonly TestResult[] }[];
}

interface TestResult {
  readonly status: string;
  readonly fullName: string;
  readonly failureMessages: readonly string[];
}

const isFailed = ({ status }: TestResult): boolean => status !== 'passed';

/** Every kernel equals its reference on this device. Run it once on each driver. */
export const claim: Claim = {
  name: 'kernels',
  async measure() {
    const folder = mkdtempSync(join(tmpdir(), 'compressa-claim-'));
    const file = join(folder, 'results.json');
    try {
      // A child's own device: the tests open it as they would alone.
      spawnSync('npx', ['vitest', 'run', ...SUITES, '--reporter=json', `--outputFile=${file}`], { stdio: 'ignore' });
      const { numPassedTests, numTotalTests, testResults } = JSON.parse(readFileSync(file, 'utf8')) as Results;
      const failed = testResults.flatMap(({ assertionResults }) => assertionResults.filter(isFailed));
      for (const { fullName, failureMessages } of failed) console.error(fullName, failureMessages.join('\n'));
      return [
        {
          claim: 'kernels equal their f64 references, quantizers bit for bit',
          threshold: 'every test passes',
          measured: `${numPassedTests} of ${numTotalTests}${failed.map(({ fullName }) => `; failed: ${fullName}`).join('')}`,
          pass: numPassedTests === numTotalTests && numTotalTests > 0,
        },
      ];
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};
