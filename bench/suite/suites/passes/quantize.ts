import type { HostArrays, QuantizeMethod } from '../../../../src/formats/format.ts';
import { formatBytes } from '../../../../src/formats/layout.ts';
import { searches } from '../../../../src/formats/methods.ts';
import { formatByName } from '../../../../src/formats/registry.ts';
import type { Scratch } from '../../../../src/gpu/scratch.ts';
import { dequantizeStep, quantizeSteps, scaleRoomBytes } from '../../../../src/kernels/quantize.ts';
import { allocateWeight } from '../../../../src/kernels/weight.ts';
import { withBuffers } from '../../buffers.ts';
import { chainLength } from '../../chain.ts';
import type { Contestant } from '../../contestant.ts';
import { OURS } from '../../names.ts';
import { poison, recorded } from '../../recorded.ts';
import type { Case, OpenCase, SuiteContext } from '../../suite.ts';
import { checkedRows, pickRows, readRows } from './checked-rows.ts';
import { normalValues } from './normal-values.ts';

const FORMATS = [
  'f16',
  'q8_0',
  'q4_0',
  'q4_k',
  'q6_k',
  'iq4_nl',
  'int4-g64-asym',
  'int3-g64',
  'e4m3-g128',
  'nf4',
  'w8a8',
];
const QUICK_FORMATS = ['q8_0', 'q4_0', 'q4_k'];
const K = 4096;
const ROWS = { quick: 512, full: 4096 } as const;
/** Rows that the reference quantizes as well, since searches take long on the host: four at a time, which share scales of scales in nf4. */
const CHECKED = { each: 4, places: 4 } as const;

/** Quantizing a matrix that is f32 on the device. */
function quantizeCase(name: string, method: QuantizeMethod, rows: number): Case {
  const format = formatByName(name);
  const weights = rows * K;
  return {
    suite: 'passes',
    name: `quantize to ${name}${method === 'rtn' ? '' : `, ${method}`}, ${rows}x${K}`,
    dimensions: { pass: 'quantize', format: name, method, rows, k: K },
    bytes: 4 * weights + formatBytes(format, rows, K),
    items: { unit: 'weights', count: weights },
    open: (context) => withBuffers(context.gpu, (buffers) => openQuantize(context, buffers, { name, method, rows })),
  };
}

interface Quantization {
  readonly name: string;
  readonly method: QuantizeMethod;
  readonly rows: number;
}

async function openQuantize(
  context: SuiteContext,
  buffers: Scratch,
  { name, method, rows }: Quantization,
): Promise<OpenCase> {
  const { gpu } = context;
  const format = formatByName(name);
  const values = normalValues(rows * K);
  const from = buffers.upload(values, 'weights');
  const bad = buffers.room(4, 'bad');
  gpu.clear(bad.buffer);
  const room = scaleRoomBytes(format, rows, K);
  const scaleRoom = room > 0 ? buffers.room(room, 'scales') : undefined;
  const weight = allocateWeight(gpu, format, rows, K, 'quantized');
  const steps = quantizeSteps({
    ...{ source: formatByName('f32'), from, format, to: weight.parts[0]!.arrays, rows, k: K, bad, method },
    ...(scaleRoom && { scaleRoom }),
  });
  const checked = checkedRows(rows, CHECKED.each, CHECKED.places);
  const count = chainLength({ bytes: 4 * rows * K + formatBytes(format, rows, K) }, context);
  const ours: Contestant = {
    name: OURS,
    note: `${count} times in one submit, from f32 on the device to the arrays of the format`,
    prepare: () =>
      recorded(gpu, [Array.from({ length: count }, () => steps).flat()], {
        check: async () => {
          const expanded = buffers.room(4 * rows * K, 'expanded');
          poison(gpu, [...weight.parts[0]!.arrays, expanded]);
          await gpu.scheduler.run(steps);
          await gpu.scheduler.run([
            dequantizeStep({
              ...{ format, from: weight.parts[0]!.arrays, target: formatByName('f32'), to: expanded, rows, k: K, bad },
            }),
          ]);
          return new Float32Array(await readRows(gpu, expanded.buffer, 4 * K, checked));
        },
        release: () => undefined,
      }),
  };
  const some = pickRows(values, K, checked);
  return {
    work: { kind: 'own', count },
    contestants: [ours],
    // Codes equal the reference's bit for bit, searched ones to within a margin: what they lose is the same.
    reference: {
      error: (output) => {
        const arrays: HostArrays = format.reference.quantize(some, checked.count, K, { method });
        const expected = lossOf(format.reference.dequantize(arrays, checked.count, K), some);
        return expected === 0 ? lossOf(output, some) : Math.abs(lossOf(output, some) / expected - 1);
      },
      // Scales that are quantized all together depend on the rows that the reference does not see.
      tolerance: format.single ? 2 ** -6 : 2 ** -10,
    },
    release: () => {
      weight.release();
      buffers.release();
    },
  };
}

const lossOf = (values: ArrayLike<number>, original: Float32Array): number =>
  original.reduce((sum, value, i) => sum + (values[i]! - value) ** 2, 0);

/** Quantizing by rounding and, where a format offers one, by a search. */
export const quantizeCases = (quick: boolean): Case[] =>
  (quick ? QUICK_FORMATS : FORMATS).flatMap((name) => {
    const format = formatByName(name);
    const methods: QuantizeMethod[] = searches(format) && !format.searched && !quick ? ['rtn', 'search'] : ['rtn'];
    return methods.map((method) => quantizeCase(name, method, quick ? ROWS.quick : ROWS.full));
  });
