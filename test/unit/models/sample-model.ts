import { readFileSync } from 'node:fs';
import { f16BitsToF32 } from '../../../src/formats/float16.ts';

const folder = new URL('../../../models/union-7m/', import.meta.url);

export const sampleText = (name: string): string => readFileSync(new URL(name, folder), 'utf8');
export const sampleJson = (name: string) => JSON.parse(sampleText(name));

/** Little-endian u16 ids. */
export const sampleTokens = (name: string): number[] => {
  const bytes = readFileSync(new URL(name, folder));
  return Array.from({ length: bytes.length / 2 }, (_, i) => bytes.readUInt16LE(2 * i));
};

export interface SampleTensor {
  readonly shape: number[];
  readonly values: Float32Array;
}

/** The F16 tensors of model.safetensors: 8 bytes of header length, the JSON header, the data. */
export const sampleTensors = (): Map<string, SampleTensor> => {
  const bytes = readFileSync(new URL('model.safetensors', folder));
  const headerLength = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerLength));
  const tensors = new Map<string, SampleTensor>();
  for (const [name, info] of Object.entries<{ dtype: string; shape: number[]; data_offsets: [number, number] }>(
    header,
  )) {
    if (name === '__metadata__') continue;
    if (info.dtype !== 'F16') throw new Error(`${name} is ${info.dtype}`);
    const [start, end] = info.data_offsets.map((offset) => offset + 8 + headerLength) as [number, number];
    const values = Float32Array.from({ length: (end - start) / 2 }, (_, i) =>
      f16BitsToF32(bytes.readUInt16LE(start + 2 * i)),
    );
    tensors.set(name, { shape: info.shape, values });
  }
  return tensors;
};
