import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compress, memoryFolder, nodeFileSink, openModel, openPath, sentencePieceTokenizer } from 'compressa';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';
import { openLlama } from '../peers/llama.ts';
import { llamaVocabulary } from '../peers/llama-vocabulary.ts';
import { randomModel } from '../random-model.ts';

/** What text of one language does not have. */
const UNUSUAL = [
  '',
  ' ',
  '  two spaces  and three   ',
  '\n\n\ttabs and\r\nline ends\n',
  'naïve façade, Ærøskøbing, Łódź, İstanbul',
  'Привет, мир! Ελληνικά. שלום. مرحبا',
  '日本語のテキスト。中文文本，没有空格。한국어',
  'emoji 👩‍👩‍👧‍👦 👍🏽 🏴‍☠️ and 𝔐𝔞𝔱𝔥',
  'e\u0301 beside \u00e9, ﬁ beside fi, \u00a0 no-break, \u200b zero width, \ufeff mark',
  '▁ the mark itself ▁▁x',
  'x = [i**2 for i in range(10)]  # code\n    return {"a": 1.5e-3}',
  '0123456789 3.14159265358979 1,000,000',
  // Names of special tokens are left to callers: Hugging Face's tokenizers take them for tokens, llama.cpp on request.
  '<0x0A> is text here',
  'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
  '\u0000\u0001\u007f',
];

/** A text is cut into the same tokens by Compressa and by llama.cpp, from one GGUF file with the vocabulary of Llama 2. */
export const claim: Claim = {
  name: 'SentencePiece in llama.cpp',
  async measure(gpu) {
    const vocabulary = await llamaVocabulary();
    const missing = (measured: string): Measurement[] => [
      { claim: 'tokens', threshold: 'the peers are there', measured, pass: false },
    ];
    if (typeof vocabulary === 'string') return missing(vocabulary);
    const folder = await mkdtemp(join(tmpdir(), 'compressa-sentencepiece-'));
    try {
      const path = join(folder, 'model.gguf');
      const config = {
        architectures: ['LlamaForCausalLM'],
        hidden_size: 32,
        intermediate_size: 32,
        num_hidden_layers: 1,
        num_attention_heads: 1,
        vocab_size: vocabulary.tokens.length,
        max_position_embeddings: 512,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: true,
        bos_token_id: 1,
        eos_token_id: 2,
      };
      const source = memoryFolder('Llama vocabulary', {
        'config.json': JSON.stringify(config),
        'tokenizer.json': JSON.stringify(sentencePieceTokenizer(vocabulary)),
        'model.safetensors': await randomModel(config),
      });
      await compress(source, await nodeFileSink(path), { gpu, format: 'keep' });
      const texts = [
        ...UNUSUAL,
        ...(await readFile(`${SAMPLE_MODEL}/validation.txt`, 'utf8')).split(/(?<=[.!?]) /).slice(0, 300),
      ];
      const model = await openModel(await openPath(path), { gpu, maxPositions: 16 });
      const ours = texts.map((text) => model.tokenizer!.encode(text));
      await model.close();
      const llama = await openLlama(path, 64);
      if (typeof llama === 'string') return missing(llama);
      const theirs = texts.map((text) => llama.tokenize(text));
      await llama.close();
      return [
        sameClaim('tokens of unusual and of common texts', texts, ours, theirs),
        controlClaim(texts, ours, theirs),
      ];
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};

type Cuts = readonly (readonly number[])[];

const differing = (a: Cuts, b: Cuts): number[] => [...a.keys()].filter((i) => String(a[i]) !== String(b[i]));

function sameClaim(claim: string, texts: readonly string[], ours: Cuts, theirs: Cuts): Measurement {
  const other = differing(ours, theirs);
  const shown = other.slice(0, 3).map((i) => `; ${JSON.stringify(texts[i])}: [${ours[i]}] and [${theirs[i]}]`);
  return {
    claim,
    threshold: 'the same tokens',
    measured: `${texts.length - other.length} of ${texts.length}, ${ours.flat().length} tokens${shown.join('')}`,
    pass: other.length === 0,
  };
}

function controlClaim(texts: readonly string[], ours: Cuts, theirs: Cuts): Measurement {
  const shifted = ours.map((_, i) => ours[(i + 1) % ours.length]!);
  const differ = differing(shifted, theirs).length;
  return {
    claim: 'control that must fail: the tokens of the next text',
    threshold: 'other tokens nearly always',
    measured: `${differ} of ${texts.length} differ`,
    pass: differ > texts.length / 2,
  };
}
