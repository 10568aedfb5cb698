"""The parts of the page, gradio's components by name, and how they look."""

from pathlib import Path
from typing import Any

import gradio as gr

from fst.demo.controls import MAX_STYLES, file_name
from fst.demo.painting import Limits, Photo
from fst.demo.visit import KEEP_COLORS, STROKES, Studio, jpeg_url
from fst.stylize.options import MAX_STRENGTH, TEXTURE_SIZES

_SANS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
_MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
# Fonts by name alone: gradio's own themes ask a font server for theirs.
THEME = gr.themes.Base(
    primary_hue="teal", secondary_hue="teal", neutral_hue="stone", font=_SANS, font_mono=_MONO
).set(
    # Base's own text greys and accent stay below a contrast of 4.5 on white.
    body_text_color_subdued="*neutral_600",
    block_info_text_color="*neutral_600",
    block_title_text_color="*neutral_800",
    block_label_text_color="*neutral_700",
    color_accent="*primary_700",
    slider_color="*primary_700",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    checkbox_background_color_selected="*primary_700",
    checkbox_border_color_selected="*primary_700",
    body_text_color_subdued_dark="*neutral_300",
    block_info_text_color_dark="*neutral_300",
    block_title_text_color_dark="*neutral_100",
    block_label_text_color_dark="*neutral_200",
    slider_color_dark="*primary_500",
)


def web(name: str) -> str:
    """A file of the page; the brush hands over PNG pictures, white where was brushed."""
    return (Path(__file__).parent / "web" / name).read_text("utf-8")


def photo_part(limits: Limits, suffixes: list[str]) -> dict[str, Any]:
    """The file chooser, and what is wrong with the file."""
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
    refuse = web("too_large.js").replace("LIMIT", str(limits.upload_bytes))
    problem = gr.HTML(
        "",
        js_on_load=refuse.replace("TAKEN", str(limits)),
        elem_id="photo-problem",
        elem_classes="say",
    )
    sample = gr.Button("Take the sample photo", size="sm", visible=False, elem_id="sample")
    return {"upload": upload, "photo_problem": problem, "sample": sample}


def style_part(studio: Studio) -> dict[str, Any]:
    """Thumbnails, and sliders for what depends on the styles chosen."""
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


def stroke_part() -> dict[str, Any]:
    """Strokes and colours."""
    strokes = gr.Radio(list(STROKES), value=next(iter(STROKES)), label="Strokes",
                       elem_id="strokes")  # fmt: skip
    texture_size = gr.Slider(*TEXTURE_SIZES, 1, step=0.05, interactive=False,
                             label="Size of the strokes", elem_id="texture-size")  # fmt: skip
    colors = gr.Radio(list(KEEP_COLORS), value=next(iter(KEEP_COLORS)), label="Colours",
                      elem_id="colors")  # fmt: skip
    return {"strokes": strokes, "texture_size": texture_size, "colors": colors}


def brush_part(studio: Studio) -> dict[str, Any]:
    """Masks."""
    with gr.Accordion("Paint only a part, or a part in another style", open=False, elem_id="part"):
        other = gr.Dropdown(
            [(spoken(name), name) for name in studio.maskable],
            value=(studio.maskable or [None])[-1],
            label="The other style",
            elem_id="other-style",
        )
        sheet = gr.HTML(
            jpeg_url(studio.sample.picture),
            html_template=web("brush.html"),
            css_template=web("brush.css"),
            js_on_load=web("brush.js"),
            elem_id="brush",
        )
        problem = gr.HTML("", elem_id="mask-problem", elem_classes="say")
    return {"other_style": other, "brush": sheet, "mask_problem": problem}


def result_part(photo: Photo) -> dict[str, Any]:
    """The painting, the file, the command."""
    problem = gr.HTML("", elem_id="problem", elem_classes="say")
    slider = gr.ImageSlider(
        (photo.picture,) * 2,
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


def spoken(name: str) -> str:
    """A style's name as text that can be broken."""
    return name.replace("_", " ")


def thumbnail_css(painted: dict[int, str], style_ids: list[int]) -> str:
    """Data URLs by style id as backgrounds of the style group's labels, which stand in the order
    of the ids."""
    rules = [
        f"#styles label:nth-of-type({i + 1})::before {{ background-image: url({painted[n]}) }}"
        for i, n in enumerate(style_ids)
        if n in painted
    ]
    return f"<style>{' '.join(rules)}</style>"
