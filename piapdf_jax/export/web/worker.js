// Runs the network, beside the page so that the page stays quick. What stands above gives `ort`.
const kinds = {
  uint8: bytes => bytes,
  float32: bytes => Float32Array.from(bytes, value => value / 255),
};
let session, prepare, kind, side;

const start = async ({wasm, network, input, size}) => {
  // Several threads need headers that no file has.
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = wasm;
  session = await ort.InferenceSession.create(network, {executionProviders: ["wasm"]});
  [kind, side, prepare] = [input, size, kinds[input]];
  return {};
};

const run = async ({frames, count}) => {
  const begun = performance.now();
  const images = new ort.Tensor(kind, prepare(frames), [count, side, side, 3]);
  const {probabilities} = await session.run({images});
  return {probabilities: probabilities.data, milliseconds: performance.now() - begun};
};

// One after another: a session runs one batch at a time.
let last = Promise.resolve();
self.onmessage = ({data}) => {
  last = last.then(() => (data.network ? start(data) : run(data)))
    .then(answer => self.postMessage({number: data.number, ...answer}))
    .catch(error => self.postMessage({number: data.number, error: String(error?.message ?? error)}));
};
