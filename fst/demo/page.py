"""The page: what follows when one of its parts is moved."""

import html
import traceback
from collections.abc import Iterator
from typing import Any

import gradio as gr

from fst.demo.controls import MAX_STYLES
from fst.demo.painting import Photo
from fst.demo.parts import (
    brush_part,
    photo_part,
    result_part,
    spoken,
    stroke_part,
    style_part,
    thumbnail_css,
)
from fst.demo.visit import STROKES, Studio, Thumbnails, Values, jpeg_url, reordered
from fst.errors import FstError

DELETE_EVERY_S, DELETE_AFTER_S = 600, 3600
QUEUE_SIZE = 40
_UNEXPECTED = "something went wrong on this machine; its terminal has the details"


def build(studio: Studio, suffixes: list[str]) -> gr.Blocks:
    """The page; its file chooser offers files of these suffixes."""
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
                parts = photo_part(limits, suffixes) | style_part(studio)
                parts |= stroke_part() | brush_part(studio)
            with gr.Column(scale=7, min_width=320, elem_id="result"):
                parts |= result_part(studio.sample)
        shown = _Wiring(studio, page, state, parts).connect()
        options = {"show_progress": "hidden", "api_visibility": "private"}
        shown.then(follow, outputs=thumbnails, concurrency_limit=None, **options)
    page.queue(max_size=QUEUE_SIZE, default_concurrency_limit=1, api_open=False)
    return page


class _Wiring:
    """What follows what."""

    def __init__(self, studio: Studio, page: gr.Blocks, state: dict, parts: dict) -> None:
        self.studio, self.page, self.state, self.parts = studio, page, state, parts
        others = ("strength", "texture", "strokes", "texture_size", "colors", "other_style")
        self.moved = [*parts["shares"], *(parts[name] for name in others)]
        self.inputs = [state["photo"], state["chosen"], *self.moved, state["masks"]]

    def connect(self) -> Any:
        """Register the events, none of them as an API; returns that of the first picture."""
        parts, state = self.parts, self.state
        hidden = {"api_visibility": "private", "show_progress": "hidden"}
        shown = ("problem", "slider", "paint", "download", "command", "mask_files",
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
        done = [parts["status"], parts["download"], parts["paint"]]
        parts["paint"].click(self.begin, None, done, queue=False, **hidden).then(
            self.paint,
            self.inputs,
            done,
            concurrency_id="paint",
            api_visibility="private",
            show_progress_on=parts["status"],
        )
        self.page.unload(self.leave)
        return first

    def open(self, upload: tuple[str, str] | None) -> list[Any]:
        try:
            photo = self.studio.open(*upload)
        except FstError as problem:
            return [problem_html(f"{problem}. The photo before it stays."), None, *[gr.skip()] * 4]
        return ["", gr.skip(), *_taken(photo)]

    def take_sample(self) -> list[Any]:
        return ["", None, *_taken(self.studio.sample)]

    def choose(self, before: list[str], *values: Any) -> list[Any]:
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
        try:
            return ["", self.studio.masks(photo, event._data or {})]
        except FstError as problem:
            return [problem_html(str(problem)), gr.skip()]

    def update(self, *values: Any) -> list[Any]:
        """Show the small painting and the command."""
        values = Values(*values)
        height, width = values.photo.size
        button = gr.Button(f"Paint at full size, {width} × {height}")
        stroke = gr.Slider(interactive=STROKES[values.strokes] is None)
        try:
            seen = self.studio.preview(values)
        except (FstError, MemoryError, RuntimeError) as problem:
            return [problem_html(_line(problem)), gr.skip(), button, *[gr.skip()] * 3, stroke]
        files = [str(path) for path in seen.mask_files]
        return [
            "",
            (seen.before, seen.after),
            button,
            gr.DownloadButton(visible=False),
            gr.Textbox(seen.command, info=f"writes {seen.output}"),
            gr.File(files or None, visible=bool(files)),
            stroke,
        ]

    def begin(self) -> list[Any]:
        waiting = '<p class="busy" role="status">&nbsp;</p>'
        return [waiting, gr.DownloadButton(visible=False), gr.Button(interactive=False)]

    def paint(
        self,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
        *values: Any,
    ) -> list[Any]:
        try:
            path = self.studio.paint(
                Values(*values), request.session_hash, lambda share: progress(share, "painting")
            )
        except (FstError, MemoryError, RuntimeError) as problem:
            return [problem_html(_line(problem)), gr.skip(), gr.Button(interactive=True)]
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        button = gr.DownloadButton(f"Download {path.name}, {size}", value=str(path), visible=True)
        return ["", button, gr.Button(interactive=True)]

    def leave(self, request: gr.Request) -> None:
        self.studio.leave(request.session_hash)


def _taken(photo: Photo) -> list[Any]:
    return [photo, {}, jpeg_url(photo.picture), gr.Button(visible=photo.name is not None)]


def _line(problem: Exception) -> str:
    if isinstance(problem, FstError):
        return str(problem)
    traceback.print_exception(problem)  # for whoever runs the page
    full = isinstance(problem, MemoryError) or "memory" in str(problem)
    return "this machine has not enough memory for it" if full else _UNEXPECTED


def problem_html(text: str) -> str:
    """A line that says what is wrong; the text may hold what a visitor has written."""
    return f'<p class="problem" role="alert">{html.escape(text)}</p>'
