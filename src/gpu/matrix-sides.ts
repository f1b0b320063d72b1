/** Dawn's experimental extension by which subgroups multiply small matrices. */
export const SUBGROUP_MATRIX = 'chromium-experimental-subgroup-matrix';

/** What the extension adds to an adapter's facts: products of M x K and K x N. */
interface MatrixInfo {
  readonly subgroupMatrixConfigs?: Iterable<{
    readonly componentType: string;
    readonly resultComponentType: string;
    readonly M: number;
    readonly N: number;
    readonly K: number;
  }>;
}

/** Our kernel has workgroups of 256 threads, of which it needs four whole subgroups. */
const MOST_LANES = 64;

/** Sides of the square matrices of f16 whose products a device sums in f32, largest first. */
export function matrixSides(device: GPUDevice, info: GPUAdapterInfo | undefined): number[] {
  const { features } = device;
  const lanes = info?.subgroupMaxSize ?? 0;
  const there = [SUBGROUP_MATRIX, 'subgroups', 'shader-f16'].every((name) => features.has(name as GPUFeatureName));
  if (!there || lanes === 0 || lanes > MOST_LANES) return [];
  return [...((info as MatrixInfo).subgroupMatrixConfigs ?? [])]
    .filter(({ componentType, resultComponentType }) => componentType === 'f16' && resultComponentType === 'f32')
    .flatMap(({ M, N, K }) => (M === N && N === K ? [M] : []))
    .sort((a, b) => b - a);
}
