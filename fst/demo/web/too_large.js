// Said before anything is sent; the server has the same limit. gradio's own word for it is "Error".
function refuse(event, files) {
  const file = [...(files || [])].find((file) => file.size > LIMIT);
  if (!file) return;
  event.stopImmediatePropagation();
  event.preventDefault();
  const line = document.createElement('p');
  line.className = 'problem';
  line.setAttribute('role', 'alert');
  line.textContent = `${file.name}: ${(file.size / 2**20).toPrecision(3)} MiB are more than this `
    + 'page takes (TAKEN): send a smaller file. The photo before it stays.';
  props.value = line.outerHTML;
}
const within = (event) => event.target instanceof Element && event.target.closest('#upload');
document.addEventListener('change', (event) => {
  if (within(event) && event.target.files) refuse(event, event.target.files);
}, true);
document.addEventListener('drop', (event) => {
  if (within(event)) refuse(event, event.dataTransfer.files);
}, true);
