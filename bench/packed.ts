// What bench/pack.ts makes a program of: the suite without what needs a checkout.
import { runProgram } from './program.ts';

await runProgram();
