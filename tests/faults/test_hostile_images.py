"""Damaged pictures are read or refused by name: never a crash, a hang, or a gigabyte of memory.

The slow test reads 10,000 files in child processes under watch: pytest -m slow -s tests/faults.
"""

import sys
from collections import Counter
from pathlib import Path

import pytest

if __name__ == "__main__":  # as the child process
    sys.path.insert(0, str(Path(__file__).parent))

from mutations import (
    MEMORY_LIMIT_BYTES,
    PICTURE_KINDS,
    picture_of,
    picture_seeds,
    serve,
    table,
    told_rightly,
    watched,
)

from fst.data.styles import load_pictures, read_styles
from fst.errors import FstError
from fst.io import images
from fst.stylize.controls.masks import read_mask

MANY, FEW = 10_000, 150
MOST_PAINTED = 300_000  # pixels


def all_strips(path, side_px):
    """What `stylize_file` reads first."""
    strips = images.load_strips(path, side_px)
    assert sum(len(strip) for strip in strips.strips) == strips.shape[0]


WAYS = {
    "decode": images.decode,
    "decode small": lambda path: images.decode(path, 16),
    "load": images.load,
    "load_full": images.load_full,
    "load_full small": lambda path: images.load_full(path, 16),
    "shape_of": images.shape_of,
    "strips": lambda path: all_strips(path, None),
    "strips small": lambda path: all_strips(path, 16),
    "style": lambda path: load_pictures(read_styles([path]), 32),
    "mask": read_mask,
}


def painted(path, stylizer, folder):
    """Whole and in bands; a picture of megapixels, which takes long, is not painted."""
    from fst.stylize.bands.large import FileOptions, stylize_file

    height, width = images.shape_of(path)
    if height * width < MOST_PAINTED:
        stylizer.stylize(path)
        file = FileOptions(overwrite=True, band_px=16)
        stylize_file(stylizer, path, folder / "painted.png", file=file)


def outcome_of(path, ways):
    """("accepted" or "refused" or "wrong", what is wrong) of a file read in several ways."""
    outcome = "refused"
    for name, read in ways.items():
        try:
            read(path)
        except FstError as error:
            if wrong := told_rightly(error, path):
                return "wrong", f"{name}: {wrong}"
        except Exception as error:  # the very thing that must not happen
            return "wrong", f"{name}: {type(error).__name__}: {error}"
        else:
            outcome = "accepted"
    return outcome, ""


def ways_with_painting(folder):
    from fst.networks.transformer import TransformerNet
    from fst.style_model.format import describe, save_style_model
    from fst.stylize.stylizer import Stylizer

    network = TransformerNet(1, width=0.0625, num_blocks=1)
    described = describe(network, [{"name": "a"}], {})
    stylizer = Stylizer(save_style_model(folder / "model.safetensors", network, described))
    return WAYS | {"paint": lambda path: painted(path, stylizer, folder)}


@pytest.fixture(scope="module")
def seeds():
    return picture_seeds()


@pytest.mark.parametrize("name", picture_seeds())
def test_undamaged_pictures_are_read_in_every_way_but_gif_in_none(tmp_path, seeds, name):
    """Else the tests below would show nothing."""
    path = tmp_path / "picture"
    path.write_bytes(seeds[name])
    for way, read in ways_with_painting(tmp_path).items():
        if name == "gif":
            with pytest.raises(FstError, match="GIF is not a format"):
                read(path)
        else:
            assert read(path) is not False, way


@pytest.mark.filterwarnings("ignore")  # of PIL, about what it met in a file
def test_a_few_hundred_damaged_pictures_are_read_or_refused_by_name(tmp_path, seeds):
    counts, wrong = Counter(), []
    ways = ways_with_painting(tmp_path)
    for number in range(0, MANY, MANY // FEW + 1):  # 67 has all formats: there are 18
        name, kind, content = picture_of(number, seeds)
        path = tmp_path / f"{number}.{name}"
        path.write_bytes(content)
        outcome, detail = outcome_of(path, ways)
        counts[outcome] += 1
        wrong += [f"{number} {name} {kind}: {detail}"] * (outcome == "wrong")
    assert not wrong, "\n".join(wrong)
    assert min(counts["accepted"], counts["refused"]) > FEW // 10  # both happen


def test_mutations_are_the_same_each_time_and_change_the_file(seeds):
    for number in range(2 * len(seeds) * len(PICTURE_KINDS)):
        assert picture_of(number, seeds) == picture_of(number, seeds)
    changed = [picture_of(n, seeds)[2] != seeds[picture_of(n, seeds)[0]] for n in range(500)]
    assert sum(changed) > 480


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_damaged_pictures_under_watch(tmp_path, seeds):
    by_format, by_kind, wrong, peak = Counter(), Counter(), [], 0
    made = [picture_of(number, seeds) for number in range(MANY)]

    def jobs():
        for number, (name, _, content) in enumerate(made):
            path = tmp_path / f"{number}.{name}"
            path.write_bytes(content)
            yield str(path)

    answers = watched([__file__, tmp_path], jobs())
    for (name, kind, _), (number, answer) in zip(made, enumerate(answers), strict=True):
        outcome = answer["outcome"]
        if answer["peak_bytes"] > MEMORY_LIMIT_BYTES:
            outcome = "memory"
        by_format[name, outcome] += 1
        by_kind[kind, outcome] += 1
        peak = max(peak, answer["peak_bytes"])
        if outcome not in ("accepted", "refused"):
            megabytes = answer["peak_bytes"] >> 20
            wrong.append(f"{number} {name} {kind}: {outcome} {megabytes} MB {answer['detail']}")
        (tmp_path / f"{number}.{name}").unlink()
    print(f"\n{table(by_format)}\n\n{table(by_kind)}\n\nlargest process: {peak >> 20} MB")
    assert not wrong, "\n".join(wrong)


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")
    WATCHED_WAYS = ways_with_painting(Path(sys.argv[1]))
    serve(lambda line: outcome_of(Path(line), WATCHED_WAYS))
