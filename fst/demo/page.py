"""The page itself: gradio's components, and what follows when one of them is moved."""

import html
import traceback
from collections.abc import Iterator
from typing import Any

import gradio as gr

from fst import images
from fst.cli.infer_controls import MAX_STRENGTH, TEXTURE_SIZES
from fst.demo import brush
from fst.demo.controls import MAX_STYLES, file_name
from fst.demo.look import thumbnail_css
from fst.demo.painting import Photo
from fst.demo.thumbnails import Thumbnails, jpeg_url
from fst.demo.visit import KEEP_COLORS, Studio, Values, reordered
from fst.errors import FstError

DELETE_EVERY_S, DELETE_AFTER_S = 600, 3600
QUEUE_SIZE = 40
# Said before anything is sent; the server has the same limit. gradio's own word for it is "Error".
TOO_LARGE = """
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
"""
_UNEXPECTED = "something went wrong on this machine; its terminal has the details"


def build(studio: Studio, suffixes: list[str]) -> gr.Blocks:
    """The page.

    Args:
        studio: What it asks.
        suffixes: Of files that the file chooser offers.
    """
    names, limits = studio.names, studio.limits
    ids = [studio.stylizer.style_id(name) for name in names]
    drawn = Thumbnails(studio.stylizer, ids)

    def follow() -> Iterator[str]:
        for painted in drawn.follow():
            yield thumbnail_css(painted, ids)

    with gr.Blocks(
        title="fst: paint a photo",
        analytics_enabled=False,
        delete_cache=(DELETE_EVERY_S, DELETE_AFTER_S),
    ) as page:
        state = {"photo": gr.State(studio.sample), "chosen": gr.State(names[:1]),
                 "masks": gr.State({})}  # fmt: skip
        gr.HTML("<h1>fst</h1><p>Paint a photo in one style, or in a blend of up to four.</p>",
                elem_id="head")  # fmt: skip
        thumbnails = gr.HTML("", elem_id="thumbnails")
        with gr.Row(elem_id="work"):
            with gr.Column(scale=5, min_width=320, elem_id="controls"):
                parts = _photo_part(limits, suffixes) | _style_part(studio)
                parts |= _stroke_part() | _brush_part(studio)
            with gr.Column(scale=7, min_width=320, elem_id="result"):
                parts |= _result_part(studio.sample)
        shown = _Wiring(studio, page, state, parts).connect()
        options = {"show_progress": "hidden", "api_visibility": "private"}
        shown.then(follow, outputs=thumbnails, concurrency_limit=None, **options)
    page.queue(max_size=QUEUE_SIZE, default_concurrency_limit=1, api_open=False)
    return page


def _photo_part(limits: Any, suffixes: list[str]) -> dict[str, Any]:
    with gr.Group(elem_id="photo"):
        upload = gr.File(
            label=f"Your photo, up to {limits}",
            file_types=suffixes,
            height=132,
            elem_id="upload",
        )
    as_path = upload.preprocess

    def with_name(payload: Any) -> tuple[str, str] | None:
        path = as_path(payload)
        return None if path is None else (str(path), file_name(payload.orig_name))

    # On the instance: for a class that inherits from a component gradio writes a .pyi beside it.
    upload.preprocess = with_name
    problem = gr.HTML(
        "",
        js_on_load=TOO_LARGE.replace("LIMIT", str(limits.upload_bytes)).replace(
            "TAKEN", str(limits)
        ),
        elem_id="photo-problem",
        elem_classes="say",
    )
    sample = gr.Button("Take the sample photo", size="sm", visible=False, elem_id="sample")
    return {"upload": upload, "photo_problem": problem, "sample": sample}


def _style_part(studio: Studio) -> dict[str, Any]:
    first = studio.names[0]
    styles = gr.CheckboxGroup(
        [(spoken(name), name) for name in studio.names],
        value=[first],
        label="Styles, one to four",
        elem_id="styles",
    )
    problem = gr.HTML("", elem_id="style-problem", elem_classes="say")
    shares = [
        gr.Slider(0, 1, 0.5, step=0.05, label=f"Share {i + 1}", visible=False,
                  elem_id=f"share{i + 1}")
        for i in range(MAX_STYLES)
    ]  # fmt: skip
    place = studio.texture_place([first])
    texture = gr.Slider(0, 1, place or 0, step=0.01, label="Texture", elem_id="texture",
                        info="from the style's least to its most",
                        visible=place is not None)  # fmt: skip
    strength = gr.Slider(0, MAX_STRENGTH, 1, step=0.05, label="Strength", elem_id="strength",
                         info="0 the photo, 1 the painting, beyond it more than that")  # fmt: skip
    return {"styles": styles, "style_problem": problem, "shares": shares, "texture": texture,
            "strength": strength}  # fmt: skip


def _stroke_part() -> dict[str, Any]:
    texture_size = gr.Slider(*TEXTURE_SIZES, 1, step=0.05, label="Size of the strokes",
                             elem_id="texture-size")  # fmt: skip
    follows = gr.Checkbox(True, label="Strokes grow with the photo", elem_id="follows",
                          info="off: of a fixed size, so finer in a large photo")  # fmt: skip
    colors = gr.Radio(list(KEEP_COLORS), value=next(iter(KEEP_COLORS)), label="Colours",
                      elem_id="colors")  # fmt: skip
    return {"follows": follows, "texture_size": texture_size, "colors": colors}


def _brush_part(studio: Studio) -> dict[str, Any]:
    with gr.Accordion("Paint only a part, or a part in another style", open=False, elem_id="part"):
        other = gr.Dropdown(
            [(spoken(name), name) for name in studio.maskable],
            value=(studio.maskable or [None])[-1],
            label="The other style",
            elem_id="other-style",
        )
        sheet = gr.HTML(
            jpeg_url(images.to_picture(images.on_white(studio.sample.small))),
            html_template=brush.TEMPLATE,
            css_template=brush.STYLE,
            js_on_load=brush.SCRIPT,
            elem_id="brush",
        )
        problem = gr.HTML("", elem_id="mask-problem", elem_classes="say")
    return {"other_style": other, "brush": sheet, "mask_problem": problem}


def _result_part(photo: Photo) -> dict[str, Any]:
    problem = gr.HTML("", elem_id="problem", elem_classes="say")
    picture = images.to_picture(images.on_white(photo.small))
    slider = gr.ImageSlider(
        (picture, picture),
        label="Photo and painting",
        show_label=False,
        format="png",
        type="pil",
        max_height=620,
        interactive=False,
        buttons=["fullscreen"],
        elem_id="slider",
    )
    paint = gr.Button("Paint at full size", variant="primary", elem_id="paint")
    status = gr.HTML("", elem_id="status", elem_classes="say")
    download = gr.DownloadButton("Download", visible=False, elem_id="download")
    command = gr.Textbox(label="The same in a terminal", lines=2, max_lines=12, buttons=["copy"],
                         interactive=False, elem_id="command")  # fmt: skip
    masks = gr.File(label="The masks that it reads", visible=False, elem_id="mask-files",
                    file_count="multiple", interactive=False)  # fmt: skip
    return {"problem": problem, "slider": slider, "paint": paint, "status": status,
            "download": download, "command": command, "mask_files": masks}  # fmt: skip


class _Wiring:
    """What follows what."""

    def __init__(self, studio: Studio, page: gr.Blocks, state: dict, parts: dict) -> None:
        self.studio, self.page, self.state, self.parts = studio, page, state, parts
        others = ("strength", "texture", "follows", "texture_size", "colors", "other_style")
        self.moved = [*parts["shares"], *(parts[name] for name in others)]
        self.inputs = [state["photo"], state["chosen"], *self.moved, state["masks"]]

    def connect(self) -> Any:
        """Register the events, none of them as an API; returns that of the first picture."""
        parts, state = self.parts, self.state
        hidden = {"api_visibility": "private", "show_progress": "hidden"}
        shown = ("problem", "slider", "paint", "download", "status", "command", "mask_files",
                 "texture_size")  # fmt: skip
        update = {"fn": self.update, "inputs": self.inputs, "outputs": [parts[n] for n in shown],
                  "concurrency_id": "preview", "trigger_mode": "always_last", **hidden}  # fmt: skip
        first = self.page.load(**update)
        gr.on([control.input for control in self.moved], **update)
        photo = [parts["photo_problem"], parts["upload"], state["photo"], state["masks"],
                 parts["brush"], parts["sample"]]  # fmt: skip
        parts["upload"].upload(self.open, parts["upload"], photo, **hidden).then(**update)
        for away in (parts["upload"].clear, parts["sample"].click):
            away(self.take_sample, None, photo, **hidden).then(**update)
        style = [parts["style_problem"], state["chosen"], parts["styles"], *parts["shares"],
                 parts["texture"]]  # fmt: skip
        clicked = [state["chosen"], *parts["shares"], parts["styles"]]
        parts["styles"].input(self.choose, clicked, style, **hidden).then(**update)
        masks = [parts["mask_problem"], state["masks"]]
        parts["brush"].input(self.brushed, state["photo"], masks, **hidden).then(**update)
        parts["paint"].click(
            self.paint,
            self.inputs,
            [parts["status"], parts["download"]],
            concurrency_id="paint",
            api_visibility="private",
            show_progress_on=parts["status"],
        )
        self.page.unload(self.leave)
        return first

    def open(self, upload: tuple[str, str] | None) -> list[Any]:
        """Take an uploaded photo, or say what is wrong with it."""
        try:
            photo = self.studio.open(*upload)
        except FstError as problem:
            return [problem_html(f"{problem}. The photo before it stays."), None, *[gr.skip()] * 4]
        return ["", gr.skip(), *_taken(photo)]

    def take_sample(self) -> list[Any]:
        """Take the sample photo again."""
        return ["", None, *_taken(self.studio.sample)]

    def choose(self, before: list[str], *values: Any) -> list[Any]:
        """A thumbnail has been clicked."""
        *shares, clicked = values
        problem, names = "", before
        try:
            names, shares = reordered(before, shares, clicked)
        except FstError as told:
            problem = problem_html(str(told))
        labels = [*names, *[""] * (MAX_STYLES - len(names))]
        several = len(names) > 1
        sliders = [
            gr.Slider(value=share, label=spoken(label), visible=several and i < len(names))
            for i, (share, label) in enumerate(zip(shares, labels, strict=True))
        ]
        place = self.studio.texture_place(names)
        texture = gr.Slider(value=place or 0, visible=place is not None)
        return [problem, names, names, *sliders, texture]

    def brushed(self, photo: Photo, event: gr.EventData) -> list[Any]:
        """Something was brushed, or wiped away."""
        try:
            return ["", self.studio.masks(photo, event._data or {})]
        except FstError as problem:
            return [problem_html(str(problem)), gr.skip()]

    def update(self, *values: Any) -> list[Any]:
        """Show the small painting and the command."""
        values = Values(*values)
        height, width = values.photo.size
        button = gr.Button(f"Paint at full size, {width} × {height}")
        stroke = gr.Slider(interactive=values.follows)
        try:
            seen = self.studio.preview(values)
        except (FstError, MemoryError, RuntimeError) as problem:
            return [problem_html(_line(problem)), gr.skip(), button, *[gr.skip()] * 4, stroke]
        files = [str(path) for path in seen.mask_files]
        return [
            "",
            (seen.before, seen.after),
            button,
            gr.DownloadButton(visible=False),
            "",
            gr.Textbox(seen.command, info=f"writes {seen.output}"),
            gr.File(files or None, visible=bool(files)),
            stroke,
        ]

    def paint(
        self,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
        *values: Any,
    ) -> list[Any]:
        """Paint at full size and offer the file."""
        try:
            path = self.studio.paint(
                Values(*values), request.session_hash, lambda share: progress(share, "painting")
            )
        except (FstError, MemoryError, RuntimeError) as problem:
            return [problem_html(_line(problem)), gr.DownloadButton(visible=False)]
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        button = gr.DownloadButton(f"Download {path.name}, {size}", value=str(path), visible=True)
        return ["", button]

    def leave(self, request: gr.Request) -> None:
        """The visitor has closed the page."""
        self.studio.leave(request.session_hash)


def _taken(photo: Photo) -> list[Any]:
    url = jpeg_url(images.to_picture(images.on_white(photo.small)))
    return [photo, {}, url, gr.Button(visible=photo.name is not None)]


def _line(problem: Exception) -> str:
    """What is told of a problem."""
    if isinstance(problem, FstError):
        return str(problem)
    traceback.print_exception(problem)  # for whoever runs the page
    full = isinstance(problem, MemoryError) or "memory" in str(problem)
    return "this machine has not enough memory for it" if full else _UNEXPECTED


def spoken(name: str) -> str:
    """A style's name as text that can be broken."""
    return name.replace("_", " ")


def problem_html(text: str) -> str:
    """A line that says what is wrong; the text may hold what a visitor has written."""
    return f'<p class="problem" role="alert">{html.escape(text)}</p>'
