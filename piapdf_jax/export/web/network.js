// The network: it lies in the page, compressed, and runs in a worker. `window.piapdf` is for programs:
//   state                          "loading", "ready", or what went wrong
//   loaded                         milliseconds until it was ready
//   probabilities(base64, count)   of `count` frames, uint8 RGB [count, S, S, 3] in row order: a promise of
//                                  {probabilities: [[C numbers], ...], milliseconds}
//   seen()                         what was last looked at: {frame: base64, view, probabilities}, null before
//   guides()                       where a face is to be: {eyes, mouth, oval} in pixels of the crop
//   facts                          what the page knows of its model
const FACTS = JSON.parse(document.getElementById("facts").textContent);
const MODEL = FACTS.model;

const bytesOf = text => {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let k = 0; k < binary.length; k++) bytes[k] = binary.charCodeAt(k);
  return bytes;
};

const base64Of = bytes => {
  let binary = "";
  for (let k = 0; k < bytes.length; k += 32768) binary += String.fromCharCode(...bytes.subarray(k, k + 32768));
  return btoa(binary);
};

// The bytes of a block; it leaves the page, where it would be held twice.
const unpacked = async id => {
  const block = document.getElementById(id), bytes = bytesOf(block.textContent.trim());
  block.remove();
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};

const network = (() => {
  const waiting = new Map();
  let worker, number = 0;
  const ask = (message, transfer) => new Promise((resolve, reject) => {
    waiting.set(++number, {resolve, reject});
    worker.postMessage({...message, number}, transfer);
  });
  const answered = ({data}) => {
    const {resolve, reject} = waiting.get(data.number);
    waiting.delete(data.number);
    if (data.error) reject(new Error(data.error));
    else resolve(data);
  };
  const start = async () => {
    const [code, wasm, file] = await Promise.all(["code", "wasm", "network"].map(unpacked));
    worker = new Worker(URL.createObjectURL(new Blob([code], {type: "text/javascript"})));
    worker.onmessage = answered;
    worker.onerror = event => {
      for (const {reject} of waiting.values()) reject(new Error(event.message || "no worker may be started here"));
      waiting.clear();
    };
    const message = {wasm, network: file, input: FACTS.input, size: MODEL.image_size};
    return ask(message, [wasm.buffer, file.buffer]);
  };
  return {ready: start(), run: (frames, count) => ask({frames, count}, [frames.buffer])};
})();

window.piapdf = {
  state: "loading",
  loaded: null,
  facts: FACTS,
  seen: () => null,
  probabilities: async (base64, count) => {
    await network.ready;
    const said = await network.run(bytesOf(base64), count), rows = [];
    for (let k = 0; k < count; k++) {
      rows.push([...said.probabilities.slice(k * MODEL.units.length, (k + 1) * MODEL.units.length)]);
    }
    return {probabilities: rows, milliseconds: said.milliseconds};
  },
};
network.ready.then(
  () => Object.assign(window.piapdf, {state: "ready", loaded: performance.now()}),
  error => { window.piapdf.state = error.message; },
);
