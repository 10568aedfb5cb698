"""Paths become styles with unique, harmless names, and every problem is named at once."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fst.data import styles
from fst.data.styles import Style, load_pictures, read_styles
from fst.errors import FstError


def picture(path, size=(24, 18), colour="teal"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, "PNG")
    return path


def test_each_file_is_a_style_in_the_order_given(tmp_path):
    paths = [picture(tmp_path / name) for name in ("wave.png", "scream.png", "mosaic.png")]
    read = read_styles(paths)
    assert [style.name for style in read] == ["wave", "scream", "mosaic"]
    assert [style.images for style in read] == [(str(path),) for path in paths]


def test_a_folder_is_one_style_of_all_its_pictures(tmp_path):
    files = [picture(tmp_path / "monet" / name) for name in ("b.png", "a.png", "deep/c.png")]
    (style,) = read_styles([tmp_path / "monet"])
    assert style.name == "monet"
    assert sorted(style.images) == sorted(str(file) for file in files)


def test_a_pattern_is_one_style_for_each_picture(tmp_path):
    for name in ("b.png", "a.png"):
        picture(tmp_path / name)
    assert [style.name for style in read_styles([tmp_path / "*.png"])] == ["a", "b"]


def test_the_current_folder_has_a_name(tmp_path, monkeypatch):
    picture(tmp_path / "klimt" / "a.png")
    monkeypatch.chdir(tmp_path / "klimt")
    assert read_styles(["."])[0].name == "klimt"


def test_names_met_twice_are_numbered(tmp_path):
    names = ("x/wave.png", "x/wave-2.png", "y/wave.png", "z/wave.jpg")
    read = read_styles([picture(tmp_path / name) for name in names])
    assert [style.name for style in read] == ["wave", "wave-2", "wave-3", "wave-4"]


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("starry night", "starry_night"),
        ("a/../../etc/passwd", "a_.._.._etc_passwd"),
        ("$(reboot);x", "reboot_x"),
        ("line\nbreak\x1b[31m", "line_break_31m"),
        ("..", "style"),
        ("", "style"),
        ("???", "style"),
        ("-rf", "rf"),
        ("café 北斎", "café_北斎"),
        ("half\udcff", "half"),
    ],
)
def test_hostile_names_are_made_harmless(stem, name):
    assert styles._free_name(stem, set()) == name


@settings(max_examples=100, deadline=None)
@given(stems=st.lists(st.text(max_size=8), max_size=8))
def test_names_are_unique_and_of_safe_characters(stems):
    taken = []
    for stem in stems:
        taken.append(styles._free_name(stem, set(taken)))
    assert len(set(taken)) == len(stems)
    for name in taken:
        assert re.fullmatch(r"[\w.-]+", name) and name[0] not in ".-"
        assert name.isprintable()


def test_a_hostile_file_name_is_harmless_from_disk(tmp_path):
    path = picture(tmp_path / "-a b;\nc$.png")
    (style,) = read_styles([path])
    assert style.name == "a_b_c" and style.images == (str(path),)


def test_all_problems_are_named_at_once(tmp_path):
    picture(tmp_path / "good.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no picture")
    for name in ("one.png", "two.png"):
        (tmp_path / "damaged").mkdir(exist_ok=True)
        (tmp_path / "damaged" / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    given_paths = ["good.png", "missing.png", "empty", "text.png", "damaged"]
    with pytest.raises(FstError) as caught:
        read_styles([tmp_path / name for name in given_paths])
    message = str(caught.value)
    for name in ("missing.png", "empty", "text.png", "one.png", "two.png"):
        assert name in message
    assert "good.png" not in message and "\n" not in message


def test_no_path_at_all_is_refused():
    with pytest.raises(FstError, match="at least one style picture"):
        read_styles([])


def test_pictures_are_shrunk_to_the_style_size_and_never_enlarged(tmp_path):
    read = read_styles([picture(tmp_path / "a.png", (64, 48)), picture(tmp_path / "b.png")])
    (large,), (small,) = load_pictures(read, style_size_px=24)
    assert large.shape == (3, 24, 32) and small.shape == (3, 18, 24)
    teal = torch.tensor([0, 128, 128]) / 255
    torch.testing.assert_close(small, teal[:, None, None].expand(3, 18, 24))


def test_a_style_turns_into_plain_values():
    plain = Style("wave", ("a.png", "b.png")).as_dict()
    assert plain == {"name": "wave", "images": ["a.png", "b.png"]}
    assert type(plain["images"]) is list


def test_a_specification_is_one_style_with_its_options(tmp_path):
    wave = str(picture(tmp_path / "wave.png"))
    folder = tmp_path / "signac"
    for name in "ab":
        picture(folder / f"{name}.png")
    read = read_styles(
        [
            wave,
            {"images": wave, "statistic": "eigen", "options": {"slice": ["10%", "20%"]}},
            {"images": [str(folder), wave], "name": "all of it", "weight": 3, "size": 256},
            {"images": str(folder), "statistic": "gram instances=max", "options": {"ones": True}},
        ]
    )
    assert [style.name for style in read] == ["wave", "wave-2", "all_of_it", "signac"]
    assert read[1].statistic == "eigen slice=10%-20%"
    assert len(read[2].images) == 3 and (read[2].weight, read[2].size_px) == (3, 256)
    assert read[3].statistic == "gram instances=max ones=yes"  # refused where it is read
    assert [Style.of(style.as_dict()) for style in read] == read


@pytest.mark.parametrize(
    ("specification", "part"),
    [
        ({}, "no images"),
        ({"images": []}, "no images"),
        ({"image": "a.png"}, "unknown key 'image'"),
        ({"images": "missing.png"}, "missing.png"),
        ({"images": "a.png", "weight": "much"}, "weight 'much'"),
        ({"images": "a.png", "size": 16}, "size 16 is not a whole number from 32 up"),
        ({"images": "a.png", "size": 64.0}, "size 64.0"),
        ({"images": "a.png", "size": True}, "size True"),
        ({"images": "a.png", "weight": True}, "weight True"),
        ({"images": 5}, "images 5"),
        ({"images": ["a.png", None]}, "expected a path or a list of paths"),
        ({"images": "a.png", "options": {"top": 3}}, "options need a statistic"),
        ({"images": "a.png", "statistic": "eigen", "options": "top"}, "options 'top'"),
    ],
)
def test_a_wrong_specification_is_told_in_one_line(tmp_path, monkeypatch, specification, part):
    picture(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FstError) as error:
        read_styles([specification])
    assert part in str(error.value) and "\n" not in str(error.value)


def test_yaml_lists_become_grids_and_slices(tmp_path):
    file = str(picture(tmp_path / "a.png"))
    options = {"patches": [2, 3], "slice": ["10%", "20%"]}
    (style,) = read_styles([{"images": file, "statistic": ["eigen"], "options": options}])
    assert style.statistic == "eigen patches=2x3 slice=10%-20%"


def test_a_fingerprint_tells_contents_not_names(tmp_path):
    one = picture(tmp_path / "x" / "1.png")
    same = picture(tmp_path / "y" / "2.png")
    other = picture(tmp_path / "z" / "1.png", colour="red")
    marks = [styles.fingerprint(style) for style in read_styles([one, same, other])]
    assert marks[0] == marks[1] != marks[2]
