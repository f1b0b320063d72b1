// The scripts of TensorFlow.js as the modules that the examples import.
export const { removeBackend, registerBackend, setBackend, tensor, WebGPUBackend } = tf;
