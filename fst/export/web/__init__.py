"""A folder that any web server can hand out: a page that paints in the visitor's browser.

The page (index.html, page.css, page.js) asks painter.js, a worker, for paintings; that computes
the ONNX model with onnxruntime-web. All comes from the folder itself, nothing from another host.
"""

import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

from fst.assets import SAMPLE_PHOTO
from fst.errors import FstError
from fst.export.files import properties
from fst.io import images
from fst.networks.sizes import MIN_SIZE_PX
from fst.style_model.card import jpeg_bytes

if TYPE_CHECKING:
    from fst.stylize.stylizer import Stylizer

PAGE = "page.css", "page.js", "painter.js", "index.html"
PACKAGE = "onnxruntime-web@1.30.0"
# Names of the runtime's files in the page's folder, and in the package. Not .mjs: some web servers
# do not know that as JavaScript.
RUNTIME = {
    "ort.js": "ort.wasm.bundle.min.mjs",
    "ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
}
TILE_PX, PAINTED_PX = 96, 224  # strokes of a tile are as large as they look in a preview
MOST_TILES = 300  # styles after those are known by name: a JPEG is at most 65,535 px high


def page_files(
    stylizer: "Stylizer", onnx: bytes, license_id: str | None, runtime: str | None
) -> dict[str, bytes]:
    """All files of the page by name.

    Args:
        stylizer: The model, for the names and pictures of its styles.
        onnx: What it was exported as.
        license_id: Of the model; None for what is known.
        runtime: A folder of the npm package onnxruntime-web; None has npm fetch it.

    Raises:
        FstError: The runtime cannot be had.
    """
    files = runtime_from_npm() if runtime is None else runtime_in(Path(runtime))
    about = properties(stylizer, license_id, fp16=False)
    shown = {key: about[key] for key in ("model", "license", "fst_version")}
    names = stylizer.style_names
    tiles = min(len(names), MOST_TILES)
    shown |= {"names": names, "tiles": tiles, "tile_px": TILE_PX, "min_size_px": MIN_SIZE_PX}
    files |= {
        "model.onnx": onnx,
        "styles.json": json.dumps(shown).encode(),
        "tiles.jpg": jpeg_bytes(_tiles(stylizer, tiles)),
        "sample.jpg": SAMPLE_PHOTO.read_bytes(),
    }
    return files | {name: (Path(__file__).parent / name).read_bytes() for name in PAGE}


def _tiles(stylizer: "Stylizer", count: int) -> Image.Image:
    """The sample photo in each style, one below the other."""
    sheet = Image.new("RGB", (TILE_PX, TILE_PX * count))
    photo = images.load(SAMPLE_PHOTO, PAINTED_PX)
    for style_id in range(count):
        painting = images.to_picture(stylizer.stylize(photo, style_id))
        sheet.paste(ImageOps.fit(painting, (TILE_PX, TILE_PX)), (0, TILE_PX * style_id))
    return sheet


def runtime_in(folder: Path) -> dict[str, bytes]:
    """The runtime's files, of the package's folder or of its dist.

    Raises:
        FstError: One is not there.
    """
    dist = folder / "dist" if (folder / "dist").is_dir() else folder
    try:
        return {name: (dist / source).read_bytes() for name, source in RUNTIME.items()}
    except OSError as error:
        raise FstError(
            f"--runtime {folder}: {Path(error.filename).name} is not there; name the folder of "
            f"the npm package {PACKAGE}"
        ) from None


def runtime_from_npm() -> dict[str, bytes]:
    """The runtime's files, of the package as npm fetches and checks it.

    Raises:
        FstError: There is no npm, or it cannot fetch the package.
    """
    way = f"or name the folder of the npm package {PACKAGE} with --runtime"
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run(
                ["npm", "pack", PACKAGE, "--silent"],
                cwd=folder, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            )  # fmt: skip
            (package,) = Path(folder).glob("*.tgz")
            with tarfile.open(package) as archive:
                return {
                    name: archive.extractfile(f"package/dist/{source}").read()
                    for name, source in RUNTIME.items()
                }
        except FileNotFoundError:
            raise FstError(f"the page's runtime is fetched by npm: install that, {way}") from None
        except subprocess.CalledProcessError as error:
            reason = images.printable(" ".join((error.stderr or error.stdout).split())[:160])
            raise FstError(f"npm cannot fetch {PACKAGE} ({reason}): try later, {way}") from None
        except (tarfile.TarError, KeyError, ValueError) as error:
            raise FstError(f"what npm fetched is not {PACKAGE} ({error}): {way}") from None
