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
