"""How the page looks: system fonts, one accent colour, thumbnails as buttons."""

from pathlib import Path

import gradio as gr

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


def thumbnail_css(painted: dict[int, str], style_ids: list[int]) -> str:
    """Thumbnails as backgrounds of the style group's labels, which stand in the order of the ids.

    Args:
        painted: Data URLs by style id.
        style_ids: Of the labels.
    """
    rules = [
        f"#styles label:nth-of-type({i + 1})::before {{ background-image: url({painted[n]}) }}"
        for i, n in enumerate(style_ids)
        if n in painted
    ]
    return f"<style>{' '.join(rules)}</style>"
