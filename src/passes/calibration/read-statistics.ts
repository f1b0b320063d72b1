import * as v from 'valibot';
import { FileError } from '../../errors.ts';
import { decodeToF32 } from '../../files/convert.ts';
import { readSafetensors } from '../../files/safetensors-read.ts';
import type { ByteSource } from '../../files/source.ts';
import { quote, reason } from '../../files/text.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { COLUMNS } from './calibrate.ts';
import type { ColumnStatistics, StatisticsSource } from './statistics.ts';
import { STATISTICS_KEY, type StatisticsHeader, StatisticsSchema } from './statistics-schema.ts';

/** Statistics of a file; to be closed when no compression uses it any more. */
export interface StatisticsFile extends StatisticsSource {
  readonly header: StatisticsHeader;
  /** Closes the file; what was loaded stays. */
  close(): Promise<void>;
}

/**
 * Opens a file that `calibrate` wrote, and checks that all is there. The source is its own from then on.
 * @throws FileError for other files, and for damaged ones
 */
export async function readStatistics(source: ByteSource, signal?: AbortSignal): Promise<StatisticsFile> {
  const { name } = source;
  try {
    const file = await readSafetensors(source, signal);
    const header = parseHeader(name, file.metadata[STATISTICS_KEY]);
    const find = (tensor: string, shape: readonly number[]) => {
      const info = file.tensors.get(tensor);
      if (info?.type !== 'F32' || info.shape.join() !== shape.join()) {
        throw new FileError(
          `${name}: it has no tensor ${quote(tensor)} of F32 [${shape}]. Gather the statistics again.`,
        );
      }
      return info;
    };
    const byWeight = new Map<string, StatisticsHeader['inputs'][number]>();
    for (const entry of header.inputs) {
      for (const [column] of COLUMNS) find(`${entry.input}.${column}`, [entry.k]);
      if (file.tensors.has(`${entry.input}.hessian`)) find(`${entry.input}.hessian`, [entry.k, entry.k]);
      for (const weight of entry.weights) byWeight.set(weight, entry);
    }
    return {
      name,
      header,
      columnsOf: (weight) => byWeight.get(weight)?.k,
      async load(gpu, group, cancel) {
        const entry = byWeight.get(group.weights[0]!);
        if (!entry || entry.k !== group.k)
          throw new FileError(`${name}: there is nothing of ${quote(group.weights[0]!)}.`);
        const columns: Record<Exclude<keyof ColumnStatistics, 'mean'>, Float32Array> = { ...NONE };
        for (const [column, of] of COLUMNS) {
          const info = find(`${entry.input}.${column}`, [entry.k]);
          const values = decodeToF32(await file.read(info, 0, entry.k, cancel), 'F32');
          if (values.some((value) => !(value >= 0 && value < Number.POSITIVE_INFINITY))) {
            throw new FileError(`${name}: ${quote(info.name)} holds a value that is negative or not finite.`);
          }
          columns[of] = values;
        }
        const scratch = new Scratch(gpu);
        const info = file.tensors.get(`${entry.input}.hessian`);
        const bytes = 4 * entry.k * entry.k;
        const hessian = info && bytes <= gpu.bindingLimit ? scratch.room(bytes, 'H') : undefined;
        try {
          if (info && hessian) {
            // Some rows at a time: H is the largest thing there is.
            const step = Math.max(1, Math.floor(CHUNK_BYTES / (4 * entry.k)));
            for (let row = 0; row < entry.k; row += step) {
              const rows = Math.min(step, entry.k - row);
              const bytesOfRows = await file.read(info, row, rows, cancel);
              if (decodeToF32(bytesOfRows, 'F32').some((value) => !Number.isFinite(value))) {
                throw new FileError(`${name}: ${quote(info.name)} holds a value that is not finite.`);
              }
              gpu.upload(hessian.buffer, bytesOfRows, 4 * entry.k * row);
            }
          }
        } catch (error) {
          scratch.release();
          throw error;
        }
        return { hessian, columns: async () => columns, release: () => scratch.release() };
      },
      close: () => file.close(),
    };
  } catch (error) {
    await source.close();
    throw error;
  }
}

const NONE: ColumnStatistics = {
  meanAbs: new Float32Array(0),
  meanSquare: new Float32Array(0),
  absMax: new Float32Array(0),
};

const CHUNK_BYTES = 16 * 1024 * 1024;

function parseHeader(name: string, text: string | undefined): StatisticsHeader {
  if (text === undefined) {
    throw new FileError(
      `${name}: it holds no statistics of a calibration. Make such a file with "compressa calibrate".`,
    );
  }
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch (error) {
    throw new FileError(`${name}: what it says of its statistics is no JSON: ${reason(error)}.`, { cause: error });
  }
  const parsed = v.safeParse(StatisticsSchema, data);
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  throw new FileError(
    `${name}: what it says of its statistics is not as this version knows it: ${v.getDotPath(issue) ?? 'the whole'}: expected ${issue.expected}, got ${issue.received}.`,
  );
}
