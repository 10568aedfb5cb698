"""How the page looks: system fonts, one accent colour, thumbnails as buttons."""

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

CSS = """
.gradio-container { max-width: 1240px !important; margin: 0 auto !important;
  overflow: visible !important; }  /* else nothing within is sticky */
.gradio-container main { width: 100%; }
#mask-files button[aria-label="Remove this file"] { display: none; }
#head, #head .html-container { padding: 0 !important; }
#head h1 { font-size: 1.6rem; margin: 0; letter-spacing: -0.01em; }
#head p { margin: 0; color: var(--body-text-color-subdued); }
#thumbnails, .say:not(:has(p)) { display: none; }
.say p { margin: 0; padding: 8px 12px; border-radius: 8px; overflow-wrap: anywhere; }
.say .problem { border-left: 4px solid #c92a2a; background: #fff0f0; color: #7d1a1a; }
.dark .say .problem { background: #3b1616; color: #ffd0d0; }
.say .busy { background: var(--background-fill-secondary); min-height: 64px; }
#upload { border-width: 1px; border-color: var(--border-color-primary); }
#download { white-space: normal; overflow-wrap: anywhere; }
#upload .icon-wrap { display: none; }
#slider .icon.left, #slider .icon.right { color: white; }
#brush { padding: 0 !important; }
#result { position: sticky; top: 12px; align-self: flex-start; }
#styles .wrap, #styles [data-testid=checkbox-group] { display: grid; gap: 8px;
  grid-template-columns: repeat(auto-fill, minmax(92px, 1fr)); }
#styles label { position: relative; display: block; padding: 0; overflow: hidden;
  border-radius: 8px; cursor: pointer; }
#styles label::before { content: ""; display: block; aspect-ratio: 1; background-size: cover;
  background-color: var(--background-fill-secondary); }
#styles label span { display: block; padding: 4px 6px; margin: 0; font-size: 0.78rem;
  line-height: 1.25; overflow-wrap: anywhere; }
#styles label input { position: absolute; top: 6px; left: 6px; margin: 0; }
#styles label:has(input:checked) { outline: 3px solid var(--color-accent); outline-offset: -3px; }
#styles label:has(input:focus-visible) { outline: 3px solid var(--body-text-color); }
#command textarea { font-family: var(--font-mono); font-size: 0.85rem; }
footer { display: none !important; }
@media (max-width: 767px) {
  .gradio-container main { padding: 12px !important; }
  #part button { text-align: left; }
  #work { flex-direction: column; }
  #result { display: contents; }
  #slider { order: -1; position: sticky; top: 0; z-index: 100; }
  #slider img { max-height: 38vh !important; }
}
"""


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
