import type { Command } from 'commander';
import { nodeTuningStore } from '../files/node-tuning-store.ts';
import { type DeviceNames, deviceNames } from '../gpu/device-names.ts';
import { Tuner, type TuningFact } from '../tuner/tuner.ts';
import { type DeviceFacts, type DeviceMeasures, describeDevice, measureDevice } from '../verify/measure-device.ts';
import { adapterOption, type GpuOptions, gpuMemoryOption, withGpu } from './gpu-options.ts';
import { interruptSignal } from './interrupt.ts';
import { print, printJson, table } from './output.ts';

interface DeviceOptions extends GpuOptions {
  readonly json?: boolean;
  readonly measure: boolean;
}

export function registerDevice(program: Command): void {
  program
    .command('device')
    .description('show what the GPU is, what it can do and how fast it is')
    .addOption(adapterOption())
    .addOption(gpuMemoryOption())
    .option('--json', 'print one JSON document')
    .option('--no-measure', 'do not measure: facts only')
    .addHelpText('after', '\nExamples:\n  $ compressa device\n  $ compressa device --json --adapter llvmpipe')
    .action((options: DeviceOptions) =>
      withGpu(options, async (gpu) => {
        const device = describeDevice(gpu);
        const measured = options.measure ? await measureDevice(gpu, { signal: interruptSignal }) : undefined;
        const tuned = await new Tuner(gpu, { mode: 'off', store: nodeTuningStore() }).facts();
        if (options.json) await printJson({ version: 1, device, ...(measured && { measured }), tuned });
        else {
          const parts = [
            facts(device, deviceNames(gpu)),
            ...(measured ? [measures(measured)] : []),
            ...(tuned.length > 0 ? [choices(tuned)] : []),
          ];
          await print(parts.join('\n\n'));
        }
      }),
    );
}

function choices(tuned: readonly TuningFact[]): string {
  const rows = [...tuned]
    .sort((a, b) => a.shape.localeCompare(b.shape, 'en', { numeric: true }))
    .map(({ shape, variant, mode, clear, seconds }): [string, string] => {
      const time = seconds[variant];
      return [
        shape,
        `${variant}${time === undefined ? '' : `, ${(1e6 * time).toPrecision(3)} µs`}; of ${Object.keys(seconds).length} (${mode}${clear ? '' : ', not certain'})`,
      ];
    });
  return table(rows, 'Chosen by --tune for products and attention of about these sizes');
}

function facts(device: DeviceFacts, { name, driver }: DeviceNames): string {
  const { selfTest } = device;
  return table(
    [
      ['name', name],
      ['driver', driver ?? 'not told'],
      ['vendor', [device.vendor, device.architecture].filter(Boolean).join(' ') || 'unknown'],
      ['kind', device.software ? 'software: computes on the CPU' : 'not known to be software'],
      ['features', device.features.join(', ') || 'none'],
      ...Object.entries(device.limits).map(([name, value]): [string, string] => [name, limit(name, value)]),
      ...(selfTest
        ? ([
            ['self-test', 'passed'],
            ['a * b + c', selfTest.contractsMultiplyAdd ? 'rounded once' : 'rounded twice'],
            ['pack2x16float', selfTest.packsToNearest ? 'rounds to nearest' : 'does not round to nearest'],
            ['denormals', selfTest.flushesDenormals ? 'flushed to zero' : 'kept'],
            ['NaN != NaN', String(selfTest.comparesNaN)],
            ['packed int8 products', selfTest.multipliesPacked ? 'there' : 'not there'],
          ] as [string, string][])
        : []),
    ],
    'Device',
  );
}

function limit(name: string, value: number): string {
  if (!/Size$/.test(name) || value < 1024) return String(value);
  const power = Math.min(4, Math.floor(Math.log2(value) / 10));
  return `${Number((value / 1024 ** power).toFixed(2))} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][power]}`;
}

function measures(measured: DeviceMeasures): string {
  const number = (value: number) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));
  const rate = (value: number | null) => (value === null ? 'not supported' : `${number(value)} Gop/s`);
  return table(
    [
      ['copy bandwidth', `${number(measured.copyGigabytesPerSecond)} GB/s read + written`],
      ['f32 arithmetic', rate(measured.f32GigaOperationsPerSecond)],
      ['f16 arithmetic', rate(measured.f16GigaOperationsPerSecond)],
      ['int8 arithmetic', `${rate(measured.i8GigaOperationsPerSecond)} (dot4I8Packed)`],
      ['dispatch', `${number(measured.dispatchMicroseconds)} µs each in a pass`],
      ['submit', `${number(measured.submitMicroseconds)} µs until done`],
      ['read-back', `${number(measured.readBackMicroseconds)} µs for 4 bytes`],
    ],
    'Measured (medians; a multiply-add counts as two operations)',
  );
}
