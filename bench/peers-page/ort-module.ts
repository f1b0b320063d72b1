// The script of onnxruntime-web as the module that the examples import.
export const { InferenceSession, Tensor } = ort;
