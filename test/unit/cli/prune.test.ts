import { Command } from 'commander';
import { expect, test } from 'vitest';
import { registerPrune } from '../../../src/cli/prune.ts';
import { defaultRounds } from '../../../src/passes/methods/method.ts';
import { SWEPT_ROUNDS } from '../../../src/passes/pruning/swept-rows.ts';

/** The command, and what it says where it is used wrongly. */
function command(): { readonly program: Command; readonly said: string[] } {
  const said: string[] = [];
  const program = new Command().exitOverride().configureOutput({ writeErr: (text) => said.push(text) });
  registerPrune(program);
  return { program, said };
}

test.each(['70%', 'half', '1e9', '0', '-1', ''])('--keep %s is refused in words', async (keep) => {
  const { program, said } = command();
  const args = ['prune', 'models/union-7m', '-o', 'none', '--pattern', 'ffn', '--keep', keep];
  await expect(program.parseAsync(args, { from: 'user' })).rejects.toThrow();
  expect(said.join()).toContain('--keep');
  expect(said.join()).toContain('Give a share between 0 and 1, such as 0.7, or bytes.');
});

test('the help says how often gptq refines by default', () => {
  const { program } = command();
  const help = program.commands[0]!.helpInformation().replace(/\s+/g, ' ');
  expect(help).toContain(`default: ${SWEPT_ROUNDS} for weights and blocks, ${defaultRounds('gptq')} for structures`);
});
