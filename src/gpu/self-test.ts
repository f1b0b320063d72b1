import source from '../../shaders/common/self_test.wgsl';
import packedSource from '../../shaders/common/self_test_packed.wgsl';
import { SelfTestError, ShaderError } from '../errors.ts';
import { deviceNames } from './device-names.ts';
import type { Gpu } from './gpu.ts';
import { read, readWrite } from './kernel.ts';

/** How this device computes where WGSL leaves a choice. */
export interface SelfTest {
  /** Products and sums in one expression are contracted to a fused multiply-add. */
  readonly contractsMultiplyAdd: boolean;
  /** `pack2x16float` rounds to nearest even; elsewhere it truncates. */
  readonly packsToNearest: boolean;
  /** Denormal f32 numbers become zero. */
  readonly flushesDenormals: boolean;
  /** `x != x` tells NaN. */
  readonly comparesNaN: boolean;
  /** `dot4I8Packed` is there (the language feature `packed_4x8_integer_dot_product`) and right. */
  readonly multipliesPacked: boolean;
}

const floatBits = (x: number) => new Uint32Array(new Float32Array([x]).buffer)[0]!;
const bitsFloat = (x: number) => new Float32Array(new Uint32Array([x]).buffer)[0]!;

const THIRD = Math.fround(1 / 3);
const LARGE = 12345.678;
const DENORMAL = 0x00012345;
/** Lies between two f16 numbers, nearer to the upper one. */
const ABOVE_HALF_STEP = 1 + 0.75 / 1024;

/**
 * Runs a handful of operations whose results WGSL fixes, and some that it leaves open.
 * @throws SelfTestError when a fixed one is wrong: nothing computed on such a device could be trusted.
 */
export async function runSelfTest(gpu: Gpu): Promise<SelfTest> {
  const given = new Uint32Array(80);
  for (let i = 0; i < 64; i++) given[i] = i * i + 1;
  given.set(
    [
      floatBits(THIRD),
      DENORMAL,
      0x7fc00000,
      floatBits(ABOVE_HALF_STEP),
      floatBits(LARGE),
      floatBits(2.5),
      0x3555,
      16777217,
    ],
    64,
  );
  const input = gpu.memory.allocate(given.byteLength, 'self-test input');
  const output = gpu.memory.allocate(64, 'self-test answers');
  try {
    gpu.upload(input, new Uint8Array(given.buffer));
    await gpu.scheduler.run([
      {
        label: 'self-test',
        kernel: { source },
        bindings: [read({ buffer: input }), readWrite({ buffer: output })],
        grid: [1, 1, 1],
      },
    ]);
    const facts = judge(new Uint32Array((await gpu.readBack(output, 0, 64)).buffer), gpu);
    return { ...facts, multipliesPacked: await multipliesPacked(gpu, input, output) };
  } finally {
    gpu.memory.release(input);
    gpu.memory.release(output);
  }
}

async function multipliesPacked(gpu: Gpu, input: GPUBuffer, output: GPUBuffer): Promise<boolean> {
  gpu.upload(input, new Uint8Array(Uint32Array.of(0x7f80ff01, 0x81020304, 0x80808080, 0x80808080).buffer));
  try {
    await gpu.scheduler.run([
      {
        label: 'self-test of packed integers',
        kernel: { source: packedSource },
        bindings: [read({ buffer: input }), readWrite({ buffer: output })],
        grid: [1, 1, 1],
      },
    ]);
  } catch (error) {
    if (error instanceof ShaderError) return false;
    throw error;
  }
  const answers = new Int32Array((await gpu.readBack(output, 0, 8)).buffer);
  // Bytes, low one first: 1*4 + -1*3 + -128*2 + 127*-127, and four squares of -128.
  return answers[0] === 4 - 3 - 256 - 16129 && answers[1] === 4 * 16384;
}

function judge(answers: Uint32Array, gpu: Gpu): Omit<SelfTest, 'multipliesPacked'> {
  const sum = Array.from({ length: 64 }, (_, i) => i * i + 1).reduce((a, b) => a + b);
  const large = Math.fround(LARGE);
  const separate = floatBits(Math.fround(Math.fround(THIRD * large) + THIRD));
  const fused = floatBits(Math.fround(THIRD * large + THIRD));
  const checks: [string, boolean][] = [
    ['a sum through workgroup memory', answers[0] === sum],
    ['a multiply-add', answers[1] === separate || answers[1] === fused],
    ['an f32 addition', answers[2] === floatBits(Math.fround(THIRD + large))],
    ['an f32 multiplication', answers[3] === floatBits(Math.fround(THIRD * THIRD))],
    ['round half to even', answers[7] === 2],
    ['unpack2x16float', bitsFloat(answers[8]!) === 0x555 / 4096],
    ['u32 to f32', answers[9] === floatBits(16777216)],
  ];
  const wrong = checks.filter(([, right]) => !right).map(([name]) => name);
  if (wrong.length > 0) {
    throw new SelfTestError(
      `The device "${deviceNames(gpu).name}" computes wrongly: ${wrong.join(', ')}. Update its driver or choose another adapter.`,
    );
  }
  return {
    contractsMultiplyAdd: separate !== fused && answers[1] === fused,
    packsToNearest: (answers[4]! & 0xffff) === 0x3c01,
    flushesDenormals: answers[5] !== DENORMAL,
    comparesNaN: answers[6] === 1,
  };
}
