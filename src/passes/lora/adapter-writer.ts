import type { TensorSpec } from '../../files/safetensors-write.ts';
import { writeSafetensors } from '../../files/safetensors-write.ts';
import type { OutputFolder } from '../../files/sink.ts';
import type { JsonObject } from '../../files/strict-json.ts';
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS } from './peft.ts';

/** Writes the two files of an adapter: first the tensors announced, in their order, then the config. */
export async function adapterWriter(output: OutputFolder, specs: readonly TensorSpec[]) {
  const writer = await writeSafetensors(await output.file(ADAPTER_WEIGHTS), specs, { format: 'pt' });
  return {
    write: (name: string, bytes: Uint8Array) => writer.write(name, bytes),
    async finish(config: JsonObject): Promise<void> {
      await writer.finish();
      const sink = await output.file(ADAPTER_CONFIG);
      await sink.write(new TextEncoder().encode(`${JSON.stringify(config, undefined, 2)}\n`));
      await sink.commit();
      await output.commit();
    },
  };
}
