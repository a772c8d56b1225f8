// The picture under the oval: files, the camera, and how both are moved.
const FULL = MODEL.crop.size, SIDE = MODEL.image_size;
// Of the crop's side, what the stage shows around it.
const MARGIN = 0.14;
// Longest side of a picture that is held, in pixels: a crop has far fewer.
const LONGEST = 2048;
// Where a face lies in a crop, in sides of the box about eyes, nose and mouth, from the middle of that box.
const FACE = {eyes: [0.44, -0.46], mouth: [0.42, 0.47], oval: [0.97, 1.22], middle: -0.07};

const stage = byId("stage"), video = document.createElement("video");
const held = document.createElement("canvas"), pixels = held.getContext("2d", {willReadFrequently: true});
Object.assign(video, {muted: true, playsInline: true});
let stream = null, view = null, image = null, changed = false, busy = false, seen = null;

// The picture's largest square in the middle is the crop, at first.
const fit = () => {
  const {width, height} = held;
  view = {x: (width - 1) / 2, y: (height - 1) / 2, scale: FULL / Math.min(width, height), angle: 0};
  changed = true;
};

const hold = (source, width, height) => {
  const ratio = Math.min(1, LONGEST / Math.max(width, height)), before = [held.width, held.height];
  const sides = [width, height].map(side => Math.max(1, Math.round(side * ratio)));
  if (sides[0] !== before[0] || sides[1] !== before[1]) [held.width, held.height] = sides;
  pixels.imageSmoothingQuality = "high";
  pixels.fillStyle = "#fff";
  pixels.fillRect(0, 0, ...sides);
  pixels.drawImage(source, 0, 0, ...sides);
  image = null;
};

const stopCamera = () => {
  stream?.getTracks().forEach(track => track.stop());
  stream = video.srcObject = null;
  byId("camera").textContent = "Use the camera";
};

const openFile = async file => {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return tell(`${file.name} is not a picture that this browser can read.`, true);
  }
  stopCamera();
  hold(bitmap, bitmap.width, bitmap.height);
  bitmap.close();
  fit();
};

const openCamera = async () => {
  if (stream) return stopCamera();
  try {
    if (!navigator.mediaDevices) throw new Error("this browser gives a page from a file none");
    stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: "user", width: {ideal: 640}}, audio: false});
    video.srcObject = stream;
    await video.play();
  } catch (error) {
    stopCamera();
    return tell(`There is no camera: ${error.message}`, true);
  }
  const [track] = stream.getVideoTracks();
  track.onended = stopCamera;
  byId("camera").textContent = "Stop the camera";
  hold(video, video.videoWidth, video.videoHeight);
  fit();
};

// -- drawing: a camera's picture is shown as a mirror does, which is how people find their face; the network sees it as it is

const mirrored = () => (stream ? -1 : 1);
const zoom = () => stage.width / (FULL * (1 + 2 * MARGIN));

const drawPicture = context => {
  const [[a, b, e], [c, d, f]] = matrixOf(view, FULL), k = zoom(), middle = stage.width / 2, flip = mirrored();
  const place = (x, y) => [a * x + b * y + e + 0.5 - FULL / 2, c * x + d * y + f + 0.5 - FULL / 2];
  const [x, y] = place(-0.5, -0.5);
  context.setTransform(flip * k * a, k * c, flip * k * b, k * d, middle + flip * k * x, middle + k * y);
  context.drawImage(held, 0, 0);
  context.setTransform(1, 0, 0, 1, 0, 0);
};

// Where the eyes, the corners of the mouth and the whole face are to be, in pixels of the crop.
const guides = () => {
  const unit = FULL / MODEL.crop.box_scale, middle = (FULL - 1) / 2;
  const place = (x, y) => [middle + x * unit, middle + (MODEL.crop.box_lift + y) * unit];
  const pair = ([x, y]) => [place(-x, y), place(x, y)];
  const [width, height] = FACE.oval.map(half => half * unit);
  return {eyes: pair(FACE.eyes), mouth: pair(FACE.mouth), oval: {middle: place(0, FACE.middle), width, height}};
};

const drawGuides = context => {
  const k = zoom(), side = k * FULL, middle = stage.width / 2, {eyes, mouth, oval} = guides();
  const on = ([x, y]) => [middle + k * (x + 0.5 - FULL / 2), middle + k * (y + 0.5 - FULL / 2)];
  context.fillStyle = "rgb(0 0 0 / 45%)";
  context.beginPath();
  context.rect(0, 0, stage.width, stage.height);
  context.rect(middle - side / 2, middle - side / 2, side, side);
  context.fill("evenodd");
  const lines = new Path2D(), arm = 7 * k;
  lines.ellipse(...on(oval.middle), k * oval.width, k * oval.height, 0, 0, 2 * Math.PI);
  for (const [x, y] of [...eyes, ...mouth].map(on)) {
    lines.moveTo(x - arm, y);
    lines.lineTo(x + arm, y);
  }
  for (const [x, y] of eyes.map(on)) {
    lines.moveTo(x, y - arm);
    lines.lineTo(x, y + arm);
  }
  // Light within dark is seen on every picture.
  for (const [width, color] of [[5, "rgb(0 0 0 / 55%)"], [2, "#fff"]]) {
    Object.assign(context, {lineWidth: width, strokeStyle: color});
    context.stroke(lines);
  }
};

const draw = () => {
  const context = stage.getContext("2d");
  context.clearRect(0, 0, stage.width, stage.height);
  drawPicture(context);
  drawGuides(context);
};

// -- the network, one frame after the other

const rate = milliseconds => {
  const now = performance.now(), apart = now - (rate.last ?? now);
  rate.last = now;
  if (stream && apart < 5000) rate.mean = rate.mean ? 0.8 * rate.mean + 0.2 * apart : apart;
  const often = stream && rate.mean ? `${(1000 / rate.mean).toFixed(1)} frames/s, ` : "";
  byId("rate").textContent = `${often}${milliseconds.toFixed(0)} ms a frame in the network`;
};

const look = async () => {
  busy = true;
  try {
    image ??= pixels.getImageData(0, 0, held.width, held.height);
    const crop = cropOf(image, view, FULL, SIDE), frame = rgbOf(crop), used = {...view};
    for (let k = 3; k < crop.data.length; k += 4) crop.data[k] = 255;
    byId("crop").getContext("2d").putImageData(new ImageData(crop.data, SIDE), 0, 0);
    await network.ready;
    const {probabilities, milliseconds} = await network.run(frame.slice(), 1);
    seen = {frame: base64Of(frame), view: used, probabilities: [...probabilities]};
    show(probabilities, !stream);
    rate(milliseconds);
  } catch (error) {
    tell(`The network does not run here: ${error.message}`, true);
  }
  busy = false;
};

const step = () => {
  if (stream && view && video.readyState >= 2) {
    hold(video, video.videoWidth, video.videoHeight);
    changed = true;
  }
  if (changed) {
    byId("empty").hidden = true;
    draw();
    if (!busy) {
      changed = false;
      look();
    }
  }
  requestAnimationFrame(step);
};

// -- moving

const change = moved => {
  if (!view) return;
  const most = 16, least = 0.25 * FULL / Math.max(held.width, held.height);
  view = {...view, ...moved};
  view.scale = Math.min(Math.max(view.scale, least), most);
  view.x = Math.min(Math.max(view.x, 0), held.width - 1);
  view.y = Math.min(Math.max(view.y, 0), held.height - 1);
  changed = true;
};

// By pixels of the crop, as it is shown.
const shift = (right, down) => {
  const {scale, angle} = view, cos = Math.cos(angle) / scale, sin = Math.sin(angle) / scale;
  right *= mirrored();
  change({x: view.x - cos * right - sin * down, y: view.y + sin * right - cos * down});
};
const enlarge = factor => change({scale: view.scale * factor});
const turn = angle => change({angle: view.angle + mirrored() * angle});

const KEYS = {
  ArrowLeft: () => shift(-4, 0), ArrowRight: () => shift(4, 0), ArrowUp: () => shift(0, -4), ArrowDown: () => shift(0, 4),
  "+": () => enlarge(1.04), "=": () => enlarge(1.04), "-": () => enlarge(1 / 1.04),
  ",": () => turn(-0.03), ".": () => turn(0.03), 0: fit,
};
const press = key => view && KEYS[key]?.();

const fingers = new Map();
const moveFinger = event => {
  if (!fingers.has(event.pointerId) || !view) return;
  const k = FULL * (1 + 2 * MARGIN) / stage.clientWidth;
  const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1], last = fingers.get(event.pointerId);
  const now = [event.clientX, event.clientY];
  fingers.set(event.pointerId, now);
  const share = other ? 0.5 : 1; // of two fingers the middle counts
  shift(share * k * (now[0] - last[0]), share * k * (now[1] - last[1]));
  if (!other) return;
  const [before, after] = [last, now].map(point => [point[0] - other[0], point[1] - other[1]]);
  if (Math.hypot(...before) > 10) enlarge(Math.hypot(...after) / Math.hypot(...before));
  turn(Math.atan2(before[0] * after[1] - before[1] * after[0], before[0] * after[0] + before[1] * after[1]));
};

const listen = () => {
  stage.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
    event.preventDefault();
    press(event.key);
  });
  stage.addEventListener("pointerdown", event => {
    stage.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  stage.addEventListener("pointermove", moveFinger);
  for (const name of ["pointerup", "pointercancel"]) {
    stage.addEventListener(name, event => fingers.delete(event.pointerId));
  }
  stage.addEventListener("wheel", event => {
    event.preventDefault();
    if (view) enlarge(Math.exp(-event.deltaY * (event.deltaMode ? 0.03 : 0.0015)));
  }, {passive: false});
  for (const button of document.querySelectorAll("button[data-key]")) {
    button.addEventListener("click", () => press(button.dataset.key));
  }
  byId("open").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", event => {
    if (event.target.files[0]) openFile(event.target.files[0]);
    event.target.value = ""; // the same file may be opened again
  });
  byId("camera").addEventListener("click", openCamera);
  for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
    document.addEventListener(name, event => {
      event.preventDefault();
      document.body.classList.toggle("over", over);
      if (name === "drop" && event.dataTransfer.files[0]) openFile(event.dataTransfer.files[0]);
    });
  }
};

byId("crop").width = byId("crop").height = SIDE;
Object.assign(window.piapdf, {seen: () => seen, guides});
listen();
step();
network.ready.then(
  () => { if (!seen) tell("Ready: open a picture or use the camera."); },
  error => tell(`The network does not run here: ${error.message}`, true),
);
