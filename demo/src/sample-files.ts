/** What the page needs of the sample model's folder: also where a server answers everything with a page, nothing else is asked for. */
export const SAMPLE_FILES = [
  'config.json',
  'model.safetensors',
  'tokenizer.json',
  'tokenizer_config.json',
  'calibration.txt',
  'validation.txt',
] as const;
