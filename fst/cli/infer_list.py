"""The styles that fst-infer can paint in, as `--list-styles` shows them."""

import argparse
import json
from typing import TYPE_CHECKING

from fst.runtime.console import print_line, tell
from fst.stylize import find_model

if TYPE_CHECKING:
    from fst.stylize.stylizer import Stylizer


def list_styles(args: argparse.Namespace, stylizer: "Stylizer") -> int:
    """Show id, name and number of pictures; those of the gallery too, where no model is named."""
    from fst.stylize.stylizer import Stylizer

    _show(stylizer, args.json)
    gallery = find_model.GALLERY
    if args.model is None and stylizer.path != gallery and gallery.is_file():
        tell("fst-infer", "and with --model gallery, or by name:")
        _show(Stylizer(gallery), args.json)
    return 0


def _show(stylizer: "Stylizer", as_json: bool) -> None:
    from fst.io.images import printable

    names = [printable(name) for name in stylizer.style_names]
    wide = max(len(name) for name in names)
    for style_id, (name, style) in enumerate(zip(names, stylizer.styles, strict=True)):
        images = style.get("images")
        count = len(images) if isinstance(images, list) else 0  # the file may say anything
        line = f"{style_id:3}  {name:{wide}}  {count} picture{'s' * (count != 1)}"
        if as_json:
            model = find_model.shown_name(stylizer.path)
            line = json.dumps({"id": style_id, "name": name, "pictures": count, "model": model})
        print_line(line)
