// What makes ONNX models, in Node. `npm run peers` installs the encoder of protocol buffers.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { type MessageType, type OnnxEncoder, onnxEncoder } from './onnx-model.ts';

/** Makes models, or says what to do about the encoder's absence. */
export function openOnnxEncoder(): OnnxEncoder | string {
  let protobuf: { loadSync(file: string): { lookupType(name: string): MessageType } };
  try {
    protobuf = createRequire(import.meta.url)('protobufjs');
  } catch (error) {
    return `protobufjs is not installed: npm run peers (${(error as Error).message.split('\n')[0]})`;
  }
  const schema = protobuf.loadSync(fileURLToPath(new URL('./onnx.proto', import.meta.url)));
  return onnxEncoder(schema.lookupType('onnx.ModelProto'));
}
