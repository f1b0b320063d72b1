/** Runs a command on SwiftShader, whatever other drivers there are: `tsx tools/with-swiftshader.ts npm run test:gpu`. */
import { runWith, swiftShaderEnvironment } from '../src/cli/software-vulkan.ts';

const [command, ...args] = process.argv.slice(2);
if (!command) {
  console.error('usage: with-swiftshader <command> [arguments]');
  process.exit(2);
}
process.exitCode = await runWith(command, args, await swiftShaderEnvironment());
