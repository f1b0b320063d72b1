// The peers of a page: which scripts they are.

/** Scripts of each peer, in the order in which they are loaded, as paths in `bench/peers/node_modules`. */
export const PEER_SCRIPTS = {
  'onnxruntime-web': ['onnxruntime-web/dist/ort.webgpu.min.js', 'protobufjs/dist/protobuf.min.js'],
  'TensorFlow.js': [
    '@tensorflow/tfjs-core/dist/tf-core.min.js',
    '@tensorflow/tfjs-backend-webgpu/dist/tf-backend-webgpu.min.js',
  ],
} as const;

export type PeerName = keyof typeof PEER_SCRIPTS;

/** Loads a peer into the page, unless it is there already. @throws Error where a script does not come */
export async function loadPeer(name: PeerName): Promise<void> {
  for (const path of PEER_SCRIPTS[name]) {
    const src = `/peers/${path}`;
    if (document.querySelector(`script[src="${src}"]`)) continue;
    const script = document.createElement('script');
    script.src = src;
    await new Promise((resolve, reject) => {
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${path} can't be loaded.`));
      document.head.append(script);
    });
  }
}
