// Paints beside the page, so that the page stays responsive.

import * as ort from "./ort.js";

// Browsers give threads only to pages that are served as isolated from others.
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency) : 1;
const session = ort.InferenceSession.create("model.onnx", { executionProviders: ["wasm"] });
session.catch(() => {}); // told to whoever asks for a painting

onmessage = async ({ data: { photo, weights } }) => {
  try {
    const { width, height, data } = photo; // RGBA, 8 bits
    const count = width * height, image = new Float32Array(3 * count);
    for (let i = 0; i < count; i++) {
      for (let c = 0; c < 3; c++) image[c * count + i] = data[4 * i + c] / 255;
    }
    const { painting } = await (await session).run({
      image: new ort.Tensor("float32", image, [1, 3, height, width]),
      style_weights: new ort.Tensor("float32", weights, [1, weights.length]),
    });
    for (let i = 0; i < count; i++) {
      for (let c = 0; c < 3; c++) data[4 * i + c] = 255 * painting.data[c * count + i]; // rounds
    }
    postMessage({ painting: photo });
  } catch (error) {
    postMessage({ error: error.message ?? String(error) });
  }
};
