// Writes the published JSON schemas: `npx tsx tools/schemas.ts`; with `--check`, only says whether they are current.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ConversionConfig, toJsonSchema } from '@valibot/to-json-schema';
import type { GenericSchema } from 'valibot';
import { BENCH_VERSION, BenchSchema } from '../bench/suite/results-schema.ts';
import {
  CompressOutputSchema,
  DeviceOutputSchema,
  FactorizeOutputSchema,
  InspectOutputSchema,
  LoraExtractOutputSchema,
  LoraResizeOutputSchema,
  RunOutputSchema,
  SvdOutputSchema,
} from '../src/cli/output-schemas.ts';
import { WeightNodeSchema, WeightTreeSchema } from '../src/files/weight-tree-schema.ts';
import { RecipeSchema } from '../src/passes/recipe-schema.ts';
import { ReportSchema } from '../src/verify/report-schema.ts';

interface PublishedSchema {
  readonly schema: GenericSchema;
  /** Schemas that refer to themselves, by the name of their definition. */
  readonly definitions?: ConversionConfig['definitions'];
  readonly title: string;
}

/** One line a schema: `<key>.schema.json`. */
const SCHEMAS: Readonly<Record<string, PublishedSchema>> = {
  bench: { schema: BenchSchema, title: `What a run of the benchmark suite measured, version ${BENCH_VERSION}` },
  compress: { schema: CompressOutputSchema, title: 'What compressa compress --json prints, version 1' },
  device: { schema: DeviceOutputSchema, title: 'What compressa device --json prints, version 1' },
  factorize: { schema: FactorizeOutputSchema, title: 'What compressa factorize --json prints, version 1' },
  inspect: { schema: InspectOutputSchema, title: 'What compressa inspect --json prints, version 1' },
  'lora-extract': { schema: LoraExtractOutputSchema, title: 'What compressa lora extract --json prints, version 1' },
  'lora-resize': { schema: LoraResizeOutputSchema, title: 'What compressa lora resize --json prints, version 1' },
  recipe: { schema: RecipeSchema, title: 'A recipe: which format each matrix of a model gets, version 1' },
  report: { schema: ReportSchema, title: 'What compressa verify found out about a model, version 1' },
  run: { schema: RunOutputSchema, title: 'What compressa run --json prints, version 1' },
  svd: { schema: SvdOutputSchema, title: 'What compressa svd --json prints, version 1' },
  'weight-tree': {
    schema: WeightTreeSchema,
    definitions: { weight: WeightNodeSchema },
    title: 'The weight tree in __metadata__.compressa of a safetensors file, version 1',
  },
};

const FOLDER = join(import.meta.dirname, '../schemas');

/** The text of each published schema, by its file name. */
export function renderSchemas(): Map<string, string> {
  return new Map(
    Object.entries(SCHEMAS).map(([name, { schema, definitions, title }]) => {
      const { $schema, ...body } = toJsonSchema(schema, {
        typeMode: 'input',
        // JSON has no other numbers.
        ignoreActions: ['finite'],
        ...(definitions && { definitions }),
      });
      return [`${name}.schema.json`, `${JSON.stringify({ $schema, title, ...body }, null, 2)}\n`];
    }),
  );
}

if (process.argv[1] === import.meta.filename) {
  const check = process.argv.includes('--check');
  for (const [name, text] of renderSchemas()) {
    const path = join(FOLDER, name);
    if (existsSync(path) && readFileSync(path, 'utf8') === text) continue;
    if (check) {
      console.error(`schemas/${name} is not current; run: npx tsx tools/schemas.ts`);
      process.exitCode = 1;
      continue;
    }
    mkdirSync(FOLDER, { recursive: true });
    writeFileSync(path, text);
  }
}
