/** How ggml stores the elements of a tensor. */
export interface GgmlType {
  /** The number that files hold. */
  readonly id: number;
  /** As ggml calls it, in lower case; formats of the registry have the same names. */
  readonly name: string;
  /** Elements of a block; a row is a multiple of it. */
  readonly block: number;
  /** Bytes of a block. */
  readonly bytes: number;
}

const type = (id: number, name: string, block: number, bytes: number): GgmlType => ({ id, name, block, bytes });

/** Every type that GGUF files may have (`ggml.h`, `ggml-common.h`). Numbers that are missing were given up by ggml. */
export const ggmlTypes: readonly GgmlType[] = [
  type(0, 'f32', 1, 4),
  type(1, 'f16', 1, 2),
  type(2, 'q4_0', 32, 18),
  type(3, 'q4_1', 32, 20),
  type(6, 'q5_0', 32, 22),
  type(7, 'q5_1', 32, 24),
  type(8, 'q8_0', 32, 34),
  type(9, 'q8_1', 32, 36),
  type(10, 'q2_k', 256, 84),
  type(11, 'q3_k', 256, 110),
  type(12, 'q4_k', 256, 144),
  type(13, 'q5_k', 256, 176),
  type(14, 'q6_k', 256, 210),
  type(15, 'q8_k', 256, 292),
  type(16, 'iq2_xxs', 256, 66),
  type(17, 'iq2_xs', 256, 74),
  type(18, 'iq3_xxs', 256, 98),
  type(19, 'iq1_s', 256, 50),
  type(20, 'iq4_nl', 32, 18),
  type(21, 'iq3_s', 256, 110),
  type(22, 'iq2_s', 256, 82),
  type(23, 'iq4_xs', 256, 136),
  type(24, 'i8', 1, 1),
  type(25, 'i16', 1, 2),
  type(26, 'i32', 1, 4),
  type(27, 'i64', 1, 8),
  type(28, 'f64', 1, 8),
  type(29, 'iq1_m', 256, 56),
  type(30, 'bf16', 1, 2),
  type(34, 'tq1_0', 256, 54),
  type(35, 'tq2_0', 256, 66),
  type(39, 'mxfp4', 32, 17),
  type(40, 'nvfp4', 64, 36),
];

const byId = new Map(ggmlTypes.map((each) => [each.id, each]));
const byName = new Map(ggmlTypes.map((each) => [each.name, each]));

/** The type that files call `id`. */
export const ggmlTypeById = (id: number): GgmlType | undefined => byId.get(id);

/** The type of that name, which is a format's name or an element type's in lower case. */
export const ggmlTypeByName = (name: string): GgmlType | undefined => byName.get(name);
