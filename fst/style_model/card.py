"""The model card: what a style model is, in Markdown, with a picture beside it.

Its head is YAML as huggingface_hub's cards have it, so that the file can be a repository's README.
All of it comes from the model's own metadata, which anyone may have written: names are escaped, and
what is missing or of another kind is told as such.
"""

import io
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fst.assets import GALLERY, SAMPLE_PHOTO
from fst.io.markdown import escaped, quoted, url
from fst.io.paths import printable
from fst.style_model.names import SHIPPED

if TYPE_CHECKING:
    from PIL import Image

    from fst.stylize.stylizer import Stylizer

UNKNOWN_LICENSE = "unknown"
MAX_STYLES = 200  # rows of the table
JPEG_QUALITY = 88
PAINTED_PX = 384  # shorter side of the photos that are painted, and shown smaller
NOT_MEASURED = "not measured"


def card_text(
    metadata: Mapping[str, Any],
    model_name: str,
    picture_name: str | None = None,
    picture_text: str = "",
    license_name: str = UNKNOWN_LICENSE,
) -> str:
    """The card as Markdown.

    Args:
        metadata: Of a style model, see `fst.style_model.format`.
        model_name: Its file name, for the examples, or "gallery".
        picture_name: File name of the picture beside the card; None shows none.
        picture_text: What is on it, a sentence.
        license_name: As the hub names it, such as "cc-by-4.0".
    """
    names = [style["name"] for style in metadata["styles"]]
    training = _mapping(metadata.get("training"))
    count = f"{len(names)} style{'s' * (len(names) != 1)}"
    architecture = _mapping(metadata.get("architecture"))
    parts = [
        _head(license_name),
        f"# Paints photos in {count}\n\n"
        f"A feed-forward network (width {escaped(architecture.get('width'))}, "
        f"{escaped(architecture.get('num_blocks'))} residual blocks) that paints a photo in any of "
        f"the styles below, or in a blend of several, in one pass. Made with fst "
        f"{escaped(metadata.get('fst_version'))}.",
    ]
    if picture_name:
        parts.append(f"![photos, and below them each in every style]({url(picture_name)})\n\n"
                     f"{escaped(picture_text, 400)}")  # fmt: skip
    parts += [
        "## Styles\n\n" + _styles(metadata["styles"], training),
        "## Use\n\n" + _use(names, model_name),
        "## Training\n\n" + _settings(training),
        "## Limits\n\n" + _limits(training, license_name),
    ]
    return "\n\n".join(parts) + "\n"


def _head(license_name: str) -> str:
    head = {
        "license": license_name,
        "library_name": "fst",
        "pipeline_tag": "image-to-image",
        "tags": ["style-transfer", "neural-style-transfer", "image-to-image", "pytorch"],
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---"


def _styles(styles: Sequence[Mapping[str, Any]], training: Mapping[str, Any]) -> str:
    metrics = _mapping(training.get("metrics"))
    columns = {"style": "style distance", "content": "content distance"}
    if any(str(key).startswith("val/brushwork/") for key in metrics):
        columns["brushwork"] = "brushwork"
    lines = [f"| id | name | shown by | {' | '.join(columns.values())} |",
             "| ---: | --- | --- |" + " ---: |" * len(columns)]  # fmt: skip
    for style_id, style in enumerate(styles[:MAX_STYLES]):
        name = style["name"]
        distances = [_number(metrics.get(f"val/{kind}/{name}")) for kind in columns]
        cells = [str(style_id), escaped(name), _pictures(style.get("images")), *distances]
        lines.append(f"| {' | '.join(cells)} |")
    if len(styles) > MAX_STYLES:
        lines.append(f"\nand {len(styles) - MAX_STYLES} more.")
    return "\n".join(lines) + "\n\n" + _measured(training, metrics)


def _pictures(names: Any) -> str:
    names = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    if not names:
        return "not recorded"
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return escaped(Path(names[0]).name) + more


def _number(value: Any) -> str:
    is_number = type(value) in (int, float) and abs(value) < 1e9  # also no NaN
    return f"{value:.3f}" if is_number else NOT_MEASURED


def _measured(training: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """How the distances came about."""
    run, settings = _mapping(training.get("run")), _mapping(training.get("settings"))
    if not any(str(key).startswith("val/style/") for key in metrics):
        return "Distances from held-out photos and style pictures were not measured in this run."
    held_out = run.get("held_out")
    photos = escaped(held_out) if held_out else "held-out photos"
    size = f" of {escaped(run['size_px'])} px" if "size_px" in run else ""
    step = run.get("measured_step")
    when = f"after step {step}" if isinstance(step, int) and step >= 0 else "of the last validation"
    text = (
        f"Distances {when}, on {photos}{size}, by features of the loss network "
        f"{escaped(settings.get('loss_network'))}; lower is nearer. Style: relative distance of "
        f"Gram matrices ({escaped(_known(run.get('measured_style')))}). Content: relative squared "
        f"distance of {escaped(run.get('measured_content'))}. "
        "Comparable only with figures from the same network and photos."
    )
    if _number(metrics.get("val/brushwork")) != NOT_MEASURED:
        text += " Brushwork: relative distance of the strokes, ignoring colour."
    drift = metrics.get("val/drift")
    if _number(drift) != NOT_MEASURED:
        text += f" The earlier styles drifted by {drift:.2f}/255 on average."
    return text


def _use(names: Sequence[str], model_name: str) -> str:
    name, model = printable(names[0]), printable(model_name)
    more, given = "", quoted(model)
    if model == SHIPPED:  # a name that the commands know
        more, given = "from fst.assets import GALLERY\n", "GALLERY"
    blend = ""
    if len(names) > 1:
        shares = f"{quoted(names[0])}: 0.7, {quoted(names[1])}: 0.3"
        blend = f'blend = stylizer.stylize("photo.jpg", style={{{shares}}})\n'
    return (
        f"```sh\nfst-infer photo.jpg --model {shlex.quote(model)} --style {shlex.quote(name)}\n"
        f"fst-infer --model {shlex.quote(model)} --list-styles\n```\n\n"
        f"```python\nfrom fst import Stylizer\n{more}\nstylizer = Stylizer({given})\n"
        f'painting = stylizer.stylize("photo.jpg", {quoted(names[0])})  # (3, H, W), [0, 1]\n'
        f'{blend}stylizer.save(painting, "painting.png")\n```'
    )


def _settings(training: Mapping[str, Any]) -> str:
    run, settings = _mapping(training.get("run")), _mapping(training.get("settings"))
    if not settings:
        return "The file does not tell how it was trained."
    known = "began_from" in settings
    steps = _known(training.get("step"))
    if run.get("max_steps") and run["max_steps"] != training.get("step"):
        steps += f" of {run['max_steps']}, interrupted"
    weights, grey = _mapping(run.get("weights")), settings.get("grey_every")
    rows = {
        "began from": (settings["began_from"] or "random weights") if known else None,
        "steps": steps,
        "images per step": run.get("batch_size"),
        "size of the images": _with_unit(run.get("size_px")),
        "trained on": run.get("content"),
        "held out": run.get("held_out"),
        "loss network": settings.get("loss_network"),
        "statistic of style": settings.get("style_loss"),
        "size of the style pictures": _with_unit(settings.get("style_size_px")),
        "weights": ", ".join(f"{key} {_known(value)}" for key, value in weights.items()),
        "compared in grey": f"one image in {grey}" if grey else None,
        "learning rate": settings.get("learning_rate"),
        "seed": settings.get("seed"),
        "precision": run.get("precision"),
        "processes": run.get("processes"),
        "versions": run.get("versions"),
    }
    lines = [f"| {key} | {escaped(_known(value))} |" for key, value in rows.items()
             if value not in (None, "", [])]  # fmt: skip
    return "| setting | value |\n| --- | --- |\n" + "\n".join(lines)


def _with_unit(value: Any) -> str | None:
    return None if value is None else f"{_known(value)} px"


def _known(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(dict.fromkeys(map(_known, value)))  # one number a style, often the same
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _limits(training: Mapping[str, Any], license_name: str) -> str:
    run, settings = _mapping(training.get("run")), _mapping(training.get("settings"))
    lines = [
        "Strokes are those of a photo of 768 px: `--texture-size` scales them.",
        "What lies within a few pixels is painted over: small faces, lettering, fine texture.",
        "It knows no objects: a face is painted like a wall.",
    ]
    if str(run.get("content", "")).endswith("drawn scenes"):
        lines.append("It was trained on scenes drawn by a program, not on photos.")
    loss_network = str(settings.get("loss_network"))
    if loss_network.endswith("-lite"):
        lines.append(
            f"It was judged in training by {loss_network}, a small distilled loss network."
        )
    licence = f"Licence of the weights: {escaped(license_name)}."
    if license_name == UNKNOWN_LICENSE:
        licence = "No licence was stated for this model."
    rights = "Whoever holds rights in the style pictures may have a say in its paintings."
    lines.append(f"{licence} {rights}")
    return "\n".join(f"- {line}" for line in lines)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


# ---- of a model that is there -------------------------------------------------------------------


def default_license(path: Path) -> str:
    """What is known of the licence of a model file."""
    return "mit" if path == GALLERY else UNKNOWN_LICENSE


def text_of(
    stylizer: "Stylizer",
    picture_name: str,
    license_name: str | None = None,
    model_name: str | None = None,
) -> str:
    """The card of a model; arguments as of `card_text`, None for what the model itself tells."""
    its_name = SHIPPED if stylizer.path == GALLERY else stylizer.path.name
    return card_text(
        stylizer.metadata,
        model_name or its_name,
        picture_name,
        "On top, unpainted; below, in each style.",
        license_name or default_license(stylizer.path),
    )


def picture_of(stylizer: "Stylizer", photos: Sequence[str | Path] | None = None) -> "Image.Image":
    """The picture of a card, painted by the model of at most four photos, or of the sample photo.

    Raises:
        FstError: A photo cannot be read.
    """
    from fst.io import images
    from fst.style_model.labelled import MAX_PHOTOS, card_picture

    shown = [images.load(photo, PAINTED_PX) for photo in (photos or [SAMPLE_PHOTO])[:MAX_PHOTOS]]
    return card_picture(stylizer.stylize, shown, stylizer.style_names)


def jpeg_bytes(picture: "Image.Image", quality: int = JPEG_QUALITY) -> bytes:
    """A picture as a JPEG file, such as that beside the card."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
