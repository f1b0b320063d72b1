import type { GgufArchitecture } from './architectures.ts';
import type { FamilySettings } from './family-settings.ts';
import { gemma2Settings, gemma3Settings, gemmaSettings } from './gemma-settings.ts';
import { llamaSettings, mistralSettings, qwenSettings } from './llama-settings.ts';
import { smollm3Settings } from './smollm3-settings.ts';

/** By `model_type`. */
const SETTINGS: Readonly<Record<string, FamilySettings>> = {
  llama: llamaSettings,
  mistral: mistralSettings,
  qwen2: qwenSettings('qwen2'),
  qwen3: qwenSettings('qwen3'),
  smollm3: smollm3Settings,
  gemma: gemmaSettings,
  gemma2: gemma2Settings,
  gemma3_text: gemma3Settings,
};

export const settingsOf = ({ modelType }: GgufArchitecture): FamilySettings => SETTINGS[modelType]!;
