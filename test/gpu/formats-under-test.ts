import { formats } from '../../src/formats/registry.ts';

/** At least one for each quantizer and each way in which codes, scales and zero points lie. */
const FEW = [
  ...[
    'f32',
    'f16',
    'bf16',
    'q8_0',
    'q5_1',
    'q5_0',
    'q4_0',
    'q4_1',
    'q6_k',
    'q4_k',
    'q3_k',
    'iq4_nl',
    'nvfp4',
    'tq2_0',
    'nf4',
    'e4m3-g128',
    'e5m2-g64-bf16',
    'w8a8',
  ],
  ...['int8-g32', 'int4-g64-asym', 'int4-g64-fzp', 'int3-g64-asym', 'int2-g64', 'int3-row-asym-bf16'],
];

/** With COMPRESSA_TEST_FORMATS=all whatever takes minutes on a software device, which compiles each kernel anew, is tested, too. */
export const EVERYTHING = process.env.COMPRESSA_TEST_FORMATS === 'all';

/** With COMPRESSA_TEST_FORMATS=few every shader is still compiled and compared, but in fewer pairs of kernel and format, and over fewer shapes. */
export const FEWER = process.env.COMPRESSA_TEST_FORMATS === 'few';

/** Shapes that a kernel is compared over. */
export const SHAPES = FEWER ? 60 : 200;

/** What tests of every format walk: some of each kind, or all there are. */
export const formatsUnderTest = EVERYTHING ? formats : formats.filter(({ name }) => FEW.includes(name));
