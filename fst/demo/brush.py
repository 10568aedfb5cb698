"""The page's brush: two masks drawn over the photo with mouse, pen or finger.

A part of the page in HTML and JavaScript. It hands over PNG pictures, white where was brushed:
`where` is to be painted at all, `other` gets the other style.
"""

import base64
import binascii

from fst.errors import FstError

MAX_BYTES = 300_000  # of a mask: strokes of one colour take some KB
_PNG_URL = "data:image/png;base64,"

TEMPLATE = """
<p>Brush where the other style goes, or where alone there is to be paint.</p>
<div class="tools" role="toolbar" aria-label="brush">
  <button type="button" data-tool="other" aria-pressed="true"><i></i>Other style</button>
  <button type="button" data-tool="where" aria-pressed="false"><i></i>Paint only</button>
  <button type="button" data-tool="erase" aria-pressed="false">Eraser</button>
  <button type="button" data-do="undo">Undo</button>
  <button type="button" data-do="clear">Clear</button>
  <label>Size <input type="range" min="2" max="40" value="14" aria-label="size of the brush"></label>
</div>
<div class="sheet"><img src="${value}" alt="the photo, to brush on" draggable="false">
<canvas></canvas></div>
"""  # noqa: E501

STYLE = """
p { margin: 0 0 8px; color: var(--body-text-color-subdued); font-size: 0.85rem; }
.tools { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; margin-bottom: 8px;
  font-size: 0.85rem; }
.tools button { min-height: 40px; padding: 0 10px; border-radius: 8px; cursor: pointer;
  border: 1px solid var(--border-color-primary); background: var(--background-fill-primary);
  color: var(--body-text-color); font: inherit; }
.tools button[aria-pressed=true] { border-color: var(--color-accent);
  box-shadow: inset 0 0 0 2px var(--color-accent); }
.tools button:focus-visible { outline: 2px solid var(--color-accent); outline-offset: 2px; }
.tools i { display: inline-block; width: 12px; height: 12px; border-radius: 50%;
  margin-right: 6px; }
.tools [data-tool=other] i { background: #d6336c; }
.tools [data-tool=where] i { background: #f5c400; }
.tools label { display: flex; gap: 8px; align-items: center; flex: 1 1 110px; }
.tools input { flex: 1; min-width: 60px; accent-color: var(--color-accent); }
.sheet { position: relative; line-height: 0; margin: 0 auto; border-radius: 8px; overflow: hidden; }
.sheet img { width: 100%; height: auto; user-select: none; }
.sheet canvas { position: absolute; inset: 0; width: 100%; height: 100%; touch-action: none;
  cursor: crosshair; opacity: 0.6; }
"""

SCRIPT = """
const COLOURS = {other: '#d6336c', where: '#f5c400'};
let tool = 'other', strokes = [], stroke = null;
const find = (selector) => element.querySelector(selector);

function draw(canvas, layer, colour) {
  const pen = canvas.getContext('2d');
  pen.lineCap = pen.lineJoin = 'round';
  for (const s of strokes) {
    if (s.tool !== layer && s.tool !== 'erase') continue;
    pen.globalCompositeOperation = s.tool === 'erase' ? 'destination-out' : 'source-over';
    pen.strokeStyle = colour;
    pen.lineWidth = s.width;
    pen.beginPath();
    pen.moveTo(...s.points[0]);
    for (const point of s.points) pen.lineTo(...point);
    pen.stroke();
  }
}
function layerOf(layer, colour, ground) {
  const {width, height} = find('canvas'), canvas = document.createElement('canvas');
  Object.assign(canvas, {width, height});
  draw(canvas, layer, colour);
  if (ground) {
    const pen = canvas.getContext('2d');
    pen.globalCompositeOperation = 'destination-over';
    pen.fillStyle = ground;
    pen.fillRect(0, 0, width, height);
  }
  return canvas;
}
function show() {
  const canvas = find('canvas'), pen = canvas.getContext('2d');
  pen.clearRect(0, 0, canvas.width, canvas.height);
  for (const layer in COLOURS) pen.drawImage(layerOf(layer, COLOURS[layer]), 0, 0);
}
function send() {
  const masks = {};
  for (const layer in COLOURS)
    masks[layer] = strokes.some((s) => s.tool === layer)
      ? layerOf(layer, '#fff', '#000').toDataURL('image/png') : '';
  trigger('input', masks);
}
function fit() {
  const image = find('img'), canvas = find('canvas');
  if (!image || !image.naturalWidth) return;
  if (canvas.width !== image.naturalWidth || canvas.height !== image.naturalHeight)
    Object.assign(canvas, {width: image.naturalWidth, height: image.naturalHeight});
  // Beside the painting, which stays in view, a tall photo would not fit on a phone.
  find('.sheet').style.maxWidth = `calc(52vh * ${canvas.width / canvas.height})`;
  show();
}
function place(event) {
  const canvas = find('canvas'), box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) * canvas.width / box.width,
          (event.clientY - box.top) * canvas.height / box.height];
}
element.addEventListener('load', fit, true);
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  if (button.dataset.tool) {
    tool = button.dataset.tool;
    for (const other of element.querySelectorAll('[data-tool]'))
      other.setAttribute('aria-pressed', other === button);
    return;
  }
  strokes = button.dataset.do === 'undo' ? strokes.slice(0, -1) : [];
  show();
  send();
});
element.addEventListener('pointerdown', (event) => {
  if (event.target !== find('canvas')) return;
  event.preventDefault();
  fit();
  event.target.setPointerCapture(event.pointerId);
  const canvas = find('canvas'), shorter = Math.min(canvas.width, canvas.height);
  stroke = {tool, width: shorter * find('input').value / 100, points: [place(event)]};
  strokes.push(stroke);
  show();
});
element.addEventListener('pointermove', (event) => {
  if (!stroke) return;
  stroke.points.push(place(event));
  show();
});
for (const end of ['pointerup', 'pointercancel'])
  element.addEventListener(end, () => {
    if (!stroke) return;
    stroke = null;
    send();
  });
watch('value', () => { strokes = []; stroke = null; fit(); });
fit();
"""


def mask_bytes(url: object) -> bytes | None:
    """The PNG file in what the brush hands over; None where nothing is brushed.

    Raises:
        FstError: It comes from elsewhere: it is no such text, or a long one.
    """
    if url in ("", None):
        return None
    if not isinstance(url, str) or not url.startswith(_PNG_URL):
        raise FstError("the mask is no PNG picture: draw it with the brush")
    if len(url) > MAX_BYTES * 4 // 3:
        raise FstError(f"the mask is larger than {MAX_BYTES // 1000} KB: draw it with the brush")
    try:
        return base64.b64decode(url[len(_PNG_URL) :], validate=True)
    except binascii.Error:
        raise FstError("the mask is damaged: draw it again") from None
