// `tsx --import ./tools/wgsl-register.ts <file>` runs the sources themselves, shaders included, without a build.
import { register } from 'node:module';

register('./wgsl-loader.ts', import.meta.url);
