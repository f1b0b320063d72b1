import { expect, test } from 'vitest';
import * as errors from '../../src/errors.ts';

test.each(Object.entries(errors).filter(([name]) => name !== 'CompressaError'))('%s is called so', (name, Class) => {
  const error = new (Class as new (message: string) => errors.CompressaError)('x');
  expect(error).toBeInstanceOf(errors.CompressaError);
  expect(error.name).toBe(name);
});

test('a cancelled work says what is left of it', () => {
  expect(new errors.CancelledError().message).toBe('The work was cancelled.');
  expect(new errors.CancelledError('It', 'nothing was written').message).toBe('It was cancelled; nothing was written.');
});
