import { describe, expect, test } from 'vitest';
import { ArgumentError, ModelError } from '../../../src/errors.ts';
import { type ChatMessage, ChatTemplate, findChatTemplate } from '../../../src/models/chat-template.ts';

const talk: ChatMessage[] = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'Hello!' },
  { role: 'assistant', content: 'Hi.' },
  { role: 'user', content: 'Bye' },
];
// The ways in which published templates are written, in our own words.
const chatml = `{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`;
const bracketed = `{%- if messages[0].role == 'system' %}{%- set system = messages[0].content + '\\n\\n' %}{%- set rest = messages[1:] %}
{%- else %}{%- set system = '' %}{%- set rest = messages %}{%- endif %}
{{- bos_token }}
{%- for m in rest %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}
{%- if m.role == 'user' %}{{ '[INST] ' + (system if loop.first else '') + m.content | trim + ' [/INST]' }}
{%- else %}{{ ' ' + m.content + eos_token }}{% endif %}
{%- endfor %}`;

describe('rendering', () => {
  test('turns with names, up to the answer', async () => {
    expect(await new ChatTemplate(chatml, 'x').render(talk)).toBe(
      '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello!<|im_end|>\n' +
        '<|im_start|>assistant\nHi.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n',
    );
  });

  test('special tokens by name, slices, filters and loops', async () => {
    const template = new ChatTemplate(bracketed, 'x', { bos_token: '<s>', eos_token: '</s>' });
    expect(await template.render(talk)).toBe('<s>[INST] Be brief.\n\nHello! [/INST] Hi.</s>[INST] Bye [/INST]');
    expect(await template.render(talk.slice(1, 2))).toBe('<s>[INST] Hello! [/INST]');
  });

  test('the day, where a template writes it', async () => {
    const dated = new ChatTemplate("{{ strftime_now('%d %b %Y, %A %H:%M 100%%') }}", 'x');
    expect(await dated.render(talk, new Date(2024, 6, 4, 9, 5))).toBe('04 Jul 2024, Thursday 09:05 100%');
  });

  test('a conversation that it refuses is the caller’s to change', async () => {
    const template = new ChatTemplate(bracketed, 'a/chat_template.jinja');
    const twice = [talk[1]!, talk[1]!];
    await expect(template.render(twice)).rejects.toThrow(ArgumentError);
    await expect(template.render(twice)).rejects.toThrow(
      'a/chat_template.jinja: the chat template refuses the conversation: "Roles must alternate".',
    );
    await expect(template.render([])).rejects.toThrow(ArgumentError);
  });
});

describe('where it comes from', () => {
  const render = (files: Parameters<typeof findChatTemplate>[0]) => findChatTemplate(files, 'folder')!.render(talk);

  test('a file of its own, then the others; none is no mistake', async () => {
    const tokenizerConfig = { chat_template: 'config {{ bos_token }}', bos_token: { content: '<s>' } };
    expect(await render({ tokenizerConfig })).toBe('config <s>');
    expect(await render({ tokenizerConfig, json: { chat_template: 'json' } })).toBe('json');
    expect(await render({ tokenizerConfig, json: {}, jinja: 'jinja {{ bos_token }}' })).toBe('jinja <s>');
    expect(findChatTemplate({}, 'folder')).toBeUndefined();
    expect(findChatTemplate({ tokenizerConfig: { chat_template: null } }, 'folder')).toBeUndefined();
  });

  test('of several, the one called default', async () => {
    const tool = { name: 'tool_use', template: 'tools' };
    const list = (...entries: unknown[]) => ({ tokenizerConfig: { chat_template: entries } });
    expect(await render(list(tool, { name: 'default', template: 'plain' }))).toBe('plain');
    expect(await render(list(tool))).toBe('tools');
    await expect(render(list(tool, tool))).rejects.toThrow('folder/tokenizer_config.json: none of the templates');
    await expect(render({ tokenizerConfig: { chat_template: 7 } })).rejects.toThrow(ModelError);
  });
});

describe('hostile templates end with a named error', () => {
  const doubling =
    "{% set ns = namespace(x='x') %}{% for i in range(64) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}";
  const lists =
    '{% set ns = namespace(x=[1]) %}{% for i in range(64) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}';
  const cases: [string, string][] = [
    ['what does not parse', '{% for x in %}'],
    ['what is open at the end', '{% if true %}'],
    ['a value that is not there', '{{ nothing.at.all() }}'],
    ['a huge range', '{% for i in range(1000 * 1000 * 1000) %}{% endfor %}'],
    ['an endless range', '{% for i in range(1, 2, 0) %}{% endfor %}'],
    ['loops in loops', `${'{% for i in range(1000) %}'.repeat(8)}x${'{% endfor %}'.repeat(8)}`],
    ['empty loops in loops', `${'{% for i in range(1000000) %}'.repeat(3)}${'{% endfor %}'.repeat(3)}`],
    ['a text that doubles', doubling],
    ['lists that double', lists],
    ['itself', '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}'],
    ['deep nesting', `{{ ${'('.repeat(50000)}1${')'.repeat(50000)} }}`],
    ['a template without end', 'x'.repeat(300000)],
    ['a huge indent', "{{ 'a\nb' | indent(width=500000000) }}"],
  ];
  test.each(cases)('%s', async (_, source) => {
    await expect(new ChatTemplate(source, 'x').render(talk)).rejects.toThrow(ModelError);
  });

  test('and reach nothing of ours', async () => {
    for (const name of ['constructor', '__proto__', 'process', 'globalThis', 'toString']) {
      expect(await new ChatTemplate(`{{ ${name} is defined }}`, 'x').render(talk)).toBe('false');
      expect(await new ChatTemplate(`{{ messages.${name} is defined }}`, 'x').render(talk)).toBe('false');
    }
  });
});
