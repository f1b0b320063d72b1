import { allocateWeight, formatByName, linearSteps, openGpu, quantizeStep } from 'compressa';
import type { Claim } from '../claim.ts';

/** On a caller's device and buffers, quantize and linear run without a read-back. */
export const claim: Claim = {
  name: 'brought device',
  async measure(own) {
    const gpu = await openGpu({ device: own.device });
    const [rows, k, tokens] = [512, 1024, 4];
    const make = (bytes: number) =>
      own.device.createBuffer({
        size: bytes,
        usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC,
      });
    const [dense, x, y, bad] = [make(rows * k * 4), make(tokens * k * 4), make(tokens * rows * 4), make(4)];
    gpu.device.queue.writeBuffer(
      dense,
      0,
      Float32Array.from({ length: rows * k }, (_, i) => Math.sin(i)),
    );
    gpu.device.queue.writeBuffer(
      x,
      0,
      Float32Array.from({ length: tokens * k }, (_, i) => Math.cos(i)),
    );
    const format = formatByName('q4_0');
    const weight = allocateWeight(gpu, format, rows, k, 'brought');
    const before = gpu.counters.readBacks;
    await gpu.scheduler.run([
      quantizeStep({
        source: formatByName('f32'),
        from: { buffer: dense },
        format,
        to: weight.parts[0]!.arrays,
        rows,
        k,
        bad: { buffer: bad },
      }),
      ...linearSteps({ x: { buffer: x }, weight, y: { buffer: y }, tokens }),
    ]);
    const readBacks = gpu.counters.readBacks - before;
    const result = new Float32Array((await gpu.readBack(y, 0, tokens * rows * 4)).buffer);
    const meaningful = result.every(Number.isFinite) && result.some((value) => value !== 0);
    for (const buffer of [dense, x, y, bad]) buffer.destroy();
    return [
      {
        claim: 'read-backs of quantize and linear',
        threshold: '0, and a result',
        measured: `${readBacks}${meaningful ? '' : ', no result'}`,
        pass: readBacks === 0 && meaningful,
      },
    ];
  },
};
