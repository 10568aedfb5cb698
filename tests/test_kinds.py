"""One truth for every path: files of all kinds, the same pixels, turn and alpha wherever read."""

import multiprocessing
import re
import struct
import zlib
from collections import Counter

import numpy as np
import pytest
import pyvips
from kinds import exif_of, table, upright
from PIL import Image

from fst.data.photos import read_photo
from fst.data.styles import load_pictures, read_styles
from fst.errors import FstError
from fst.io import images
from fst.stylize.controls.masks import read_mask
from fst.stylize.stylizer import read_image

KINDS = {kind.name: kind for kind in table()}
SMALL_PX = 9


def rows(image):
    """(C, H, W) as (H, W, C) of doubles."""
    return image.permute(1, 2, 0).double().numpy()


def strips(path, side_px=None):
    """(H, W, C) in [0, 1]: what bands are painted of."""
    read = images.load_strips(path, side_px)
    levels = np.concatenate(list(read.strips))
    assert levels.shape == read.shape and levels.dtype == read.dtype
    return levels / np.iinfo(read.dtype).max


def white(pixels):
    """Transparency laid on white."""
    color, alpha = pixels[..., :3], pixels[..., 3:]
    return color if not alpha.size else color * alpha + 1 - alpha


# What is read by each path, and whether it has alpha.
WITH_ALPHA = {
    "load_full": lambda path: rows(images.load_full(path)),
    "strips": strips,
    "Stylizer": lambda path: rows(read_image(path)),
    "decode with alpha": lambda path: np.asarray(images.decode(path, keep_alpha=True)) / 255,
}
ON_WHITE = {
    "load": lambda path: rows(images.load(path)),
    "decode": lambda path: np.asarray(images.decode(path)) / 255,
    "training photo": lambda path: rows(read_photo(path, 20)) / 255,
    "style": lambda path: rows(load_pictures(read_styles([path]), 20)[0][0]),
}
PATHS = WITH_ALPHA | ON_WHITE | {"mask": read_mask, "shape_of": images.shape_of}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kinds")


def file_of(kind, folder):
    path = folder / "picture"
    path.write_bytes(kind.content)
    return path


def check_colours(read, pixels, off_by):
    """Equal in alpha, and in colour where something is seen."""
    assert read.shape == pixels.shape
    seen = pixels[..., 3:] > 0 if pixels.shape[2] == 4 else True
    far = abs(read - pixels) * 255
    assert far[..., 3:].max(initial=0) <= min(off_by, 1)
    assert (far[..., :3] * seen).max() <= off_by


@pytest.mark.filterwarnings("ignore")  # of Pillow, about what it met in a file
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.refused])
def test_every_path_reads_the_pixels_that_were_written(name, folder):
    kind = KINDS[name]
    path = file_of(kind, folder)
    for way, read in WITH_ALPHA.items():
        rounding = 0.51 if way == "decode with alpha" else 0
        check_colours(read(path), kind.pixels, kind.off_by + rounding)
    for read in ON_WHITE.values():
        check_colours(read(path), white(kind.pixels), kind.off_by + 0.51)
    grey = white(kind.pixels) @ (0.299, 0.587, 0.114)
    assert abs(read_mask(path).numpy() - grey).max() * 255 <= kind.off_by + 1.5
    assert images.shape_of(path) == kind.pixels.shape[:2]


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.refused][::3])
def test_every_path_shrinks_alike(name, folder):
    path = file_of(KINDS[name], folder)
    whole, small = images.load_full(path, SMALL_PX), strips(path, SMALL_PX)
    assert min(small.shape[:2]) == SMALL_PX and images.shape_of(path, SMALL_PX) == small.shape[:2]
    assert np.allclose(rows(whole), small, atol=1e-6)
    laid = white(small)
    assert abs(rows(images.load(path, SMALL_PX)) - laid).max() * 255 <= 1.01
    assert abs(laid.mean() - white(KINDS[name].pixels).mean()) < 0.05


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.refused])
def test_what_is_not_supported_is_refused_by_every_path_in_one_line(name, folder):
    kind = KINDS[name]
    path = file_of(kind, folder)
    for read in PATHS.values():
        with pytest.raises(FstError) as caught:
            read(path)
        message = str(caught.value)
        assert re.search(f"cannot read .*picture: .*{kind.refused}.*; save it as PNG, or", message)
        assert "damaged" not in message and "\n" not in message


@pytest.mark.parametrize(
    "name", ["apng RGB", "webp animated RGB {'lossless': True, 'exact': True}"]
)
def test_that_an_animation_is_read_as_its_first_picture_is_said_once(name, tmp_path, caplog):
    path = file_of(KINDS[name], tmp_path)
    images.load(path)
    images.load_full(path)
    assert caplog.messages == [f"{path}: it is animated; its first picture is read"]


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
@pytest.mark.parametrize("size", [(300, 130), (129, 257)])
def test_large_turned_pictures_come_upright_in_strips(orientation, size, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif_of(orientation))
    assert (strips(tmp_path / "a.png") * 255).round().astype(int).tolist() == (
        upright(pixels, orientation).tolist()
    )


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp"])
def test_a_forked_reader_process_does_not_wait_for_threads_that_are_gone(kind, tmp_path):
    kinds = [k for k in KINDS.values() if k.name.startswith(kind) and not k.refused][::9]
    files = []
    for number, kind in enumerate(kinds):
        files.append(tmp_path / str(number))
        files[-1].write_bytes(kind.content)
    read_all(files)
    worker = multiprocessing.get_context("fork").Process(target=read_all, args=(files,))
    worker.start()
    worker.join(60)
    worker.kill()
    assert worker.exitcode == 0


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.parametrize("kind", ["rgb", "palette", "gamma", "grey16 with a transparent level"])
def test_a_forked_reader_process_sees_the_pixels_of_an_interlaced_png(kind, tmp_path):
    path, image = tmp_path / "a.png", vips_gradient(deep=kind.startswith("grey16"))
    image.pngsave(str(path), interlace=True, palette=kind == "palette")
    if kind == "gamma":
        with_chunk(path, b"gAMA", struct.pack(">I", 100_000))
    elif kind.startswith("grey16"):
        with_chunk(path, b"tRNS", struct.pack(">H", 4 * 257))
    here = images.load_full(path)
    assert len(here) == (4 if kind.startswith("grey16") else 3)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        there = pool.apply_async(levels_of, [str(path)]).get(60)
    assert np.array_equal(there, here.numpy())


def vips_gradient(deep):
    levels = np.arange(64 * 48, dtype=np.uint32).reshape(48, 64)
    if deep:
        return pyvips.Image.new_from_array((levels % 200 * 257).astype(np.uint16)).copy(
            interpretation="grey16"
        )
    rgb = np.dstack([levels % 256, levels // 12 % 256, 255 - levels % 256]).astype(np.uint8)
    return pyvips.Image.new_from_array(rgb).copy(interpretation="srgb")


def with_chunk(path, name, data):
    """Put a chunk behind the head of a PNG."""
    content = path.read_bytes()
    chunk = struct.pack(">I", len(data)) + name + data
    chunk += struct.pack(">I", zlib.crc32(name + data))
    path.write_bytes(content[:33] + chunk + content[33:])


def levels_of(path):
    return images.load_full(path).numpy()


def read_all(files):
    for file in files:
        images.load_full(file)
        read_photo(file, SMALL_PX)


def test_there_are_kinds_enough(capsys):
    counts = Counter((name.split()[0].lower(), bool(kind.refused)) for name, kind in KINDS.items())
    with capsys.disabled():
        told = [f"{k} {n}{' refused' * gone}" for (k, gone), n in sorted(counts.items())]
        print(f"\n{len(KINDS)} kinds of files: {', '.join(told)}; {len(PATHS)} paths")
    assert len(KINDS) >= 300
