// The page: which picture, in which styles, at what size. painter.js computes the painting.

const MAX_PIXELS = 2 ** 21; // of a panorama, whose longer side nothing else bounds
const find = (id) => document.getElementById(id);
const video = find("video");
const about = await (await fetch("styles.json")).json();
const painter = new Worker("painter.js", { type: "module" });
const shares = new Map([[0, 50]]); // by style id, from 1 to 100; one or several
let source = null; // an ImageBitmap, or the video of the camera
let isBusy = false;
let isOutdated = false;

function say(text) {
  find("status").textContent = text;
}

// ---- painting ---------------------------------------------------------------------------------

function ask(photo, weights) {
  return new Promise((resolve, reject) => {
    painter.onmessage = ({ data }) => (data.error ? reject(data.error) : resolve(data.painting));
    painter.onerror = (event) => reject(event.message || "a part of the page is missing");
    painter.postMessage({ photo, weights });
  });
}

function pixels() {
  const width = source.videoWidth ?? source.width, height = source.videoHeight ?? source.height;
  const shrunk = Number(find("size").value) / Math.min(width, height);
  const scale = Math.min(1, shrunk, Math.sqrt(MAX_PIXELS / (width * height)));
  const [w, h] = [width, height].map((side) => Math.max(about.min_size_px, Math.round(side * scale)));
  const context = new OffscreenCanvas(w, h).getContext("2d");
  context.fillStyle = "white"; // below what is transparent
  context.fillRect(0, 0, w, h);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, w, h);
  return context.getImageData(0, 0, w, h);
}

function styleWeights() {
  const total = [...shares.values()].reduce((sum, share) => sum + share);
  return Float32Array.from(about.names, (_, id) => (shares.get(id) ?? 0) / total);
}

function isLive() {
  return source === video && !document.hidden;
}

function show(image) {
  const canvas = find("painting");
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

async function paint() {
  isOutdated = true;
  if (isBusy || source === null) return;
  isBusy = true;
  while (source !== null && (isOutdated || isLive())) {
    isOutdated = false;
    const began = performance.now();
    if (!isLive()) say("Painting…");
    try {
      const painting = await ask(pixels(), styleWeights());
      show(painting);
      const seconds = ((performance.now() - began) / 1000).toFixed(2);
      say(`${painting.width}x${painting.height} px, painted in ${seconds} s`);
    } catch (error) {
      stopCamera();
      say(`Not painted: ${error}. A smaller size needs less memory.`);
      break;
    }
  }
  isBusy = false;
}

// ---- pictures ---------------------------------------------------------------------------------

async function take(picture) {
  stopCamera();
  try {
    source = await createImageBitmap(picture);
  } catch {
    say("This browser cannot read that file as a picture; give it a JPEG or PNG.");
    return;
  }
  show(pixels());
  paint();
}

async function startCamera() {
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment" },
    });
    await video.play();
  } catch (error) {
    say(`No camera (${error.message}); it needs your leave, and a page from https or localhost.`);
    return;
  }
  find("camera").setAttribute("aria-pressed", "true");
  source = video;
  paint();
}

async function freeze() {
  take(await createImageBitmap(video));
}

function stopCamera() {
  if (source !== video) return;
  source = null;
  for (const track of video.srcObject.getTracks()) track.stop();
  find("camera").setAttribute("aria-pressed", "false");
}

function save() {
  find("painting").toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${[...shares.keys()].map((id) => about.names[id]).join("-")}.png`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

// ---- styles -----------------------------------------------------------------------------------

function element(kind, settings, ...children) {
  const made = Object.assign(document.createElement(kind), settings);
  made.append(...children);
  return made;
}

function choose(id) {
  shares.clear();
  shares.set(id, 50);
  showStyles();
}

function addOrRemove(id) {
  if (!shares.delete(id)) shares.set(id, 50);
  showStyles();
}

function showStyles() {
  for (const [id, item] of [...find("styles").children].entries()) {
    const [tile, add] = item.children;
    tile.setAttribute("aria-pressed", shares.has(id));
    add.hidden = shares.has(id) && shares.size === 1;
    add.textContent = shares.has(id) ? "−" : "+";
    add.ariaLabel = `${shares.has(id) ? "take out" : "blend in"} ${about.names[id]}`;
  }
  const sliders = [...shares].map(([id, share]) => {
    const slider = element("input", { type: "range", min: 1, max: 100, value: share });
    slider.oninput = () => {
      shares.set(id, Number(slider.value));
      paint();
    };
    return element("label", {}, about.names[id], slider);
  });
  find("blend").replaceChildren(...sliders);
  find("blend").hidden = shares.size === 1;
  paint();
}

function styleItem(name, id) {
  const picture = element("i", {});
  if (id < about.tiles) picture.style.background = `url(tiles.jpg) 0 ${-id * about.tile_px}px`;
  const tile = element("button", { type: "button", className: "choose" }, picture, name);
  const add = element("button", { type: "button", className: "add" });
  tile.onclick = () => choose(id);
  add.onclick = () => addOrRemove(id);
  return element("li", {}, tile, add);
}

find("styles").append(...about.names.map(styleItem));
find("about").textContent =
  `${about.model}: ${about.names.length} styles, licence ${about.license}. ` +
  `Made with fst ${about.fst_version}; runs on onnxruntime-web (MIT).`;
find("file").onchange = ({ target }) => target.files.length && take(target.files[0]);
find("camera").onclick = () => (source === video ? freeze() : startCamera());
find("save").onclick = save;
find("size").onchange = paint;
document.onvisibilitychange = paint;
showStyles();
take(await (await fetch("sample.jpg")).blob());
