import type { Step } from '../gpu/kernel.ts';

/** A step with its pipeline and bind groups made. */
export interface Prepared {
  readonly step: Step;
  readonly pipeline: GPUComputePipeline;
  readonly groups: readonly GPUBindGroup[];
}

/** The steps, into a pass of the caller. */
export function encodeSteps(pass: GPUComputePassEncoder, prepared: readonly Prepared[]): void {
  for (const { step, pipeline, groups } of prepared) {
    pass.setPipeline(pipeline);
    for (const [i, group] of groups.entries()) pass.setBindGroup(i, group);
    pass.dispatchWorkgroups(...step.grid);
  }
}

/** All steps in one pass. */
export function encodePass(encoder: GPUCommandEncoder, prepared: readonly Prepared[]): void {
  const pass = encoder.beginComputePass();
  encodeSteps(pass, prepared);
  pass.end();
}

/** For the profile: a pass of its own around each step. */
export function encodeTimed(encoder: GPUCommandEncoder, prepared: readonly Prepared[], querySet: GPUQuerySet): void {
  for (const [i, one] of prepared.entries()) {
    const pass = encoder.beginComputePass({
      timestampWrites: { querySet, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 },
    });
    encodeSteps(pass, [one]);
    pass.end();
  }
}
