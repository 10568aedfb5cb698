"""What an exported file says of itself."""

import json

from fst import __version__
from fst.networks.sizes import MIN_SIZE_PX
from fst.style_model.card import default_license
from fst.stylize.stylizer import Stylizer


def properties(stylizer: Stylizer, license_id: str | None, fp16: bool) -> dict[str, str]:
    """Styles in order of id, licence, versions, architecture, precision, least size; as text."""
    return {
        "styles": json.dumps(stylizer.style_names),
        "license": license_id or default_license(stylizer.path),
        "fst_version": __version__,
        "model": stylizer.path.name,
        "architecture": json.dumps(stylizer.metadata["architecture"]),
        "convolutions": "fp16" if fp16 else "fp32",
        "min_size_px": str(MIN_SIZE_PX),
    }
