"""Files, folders and patterns become the right list of pictures, mistakes one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from fst.errors import FstError
from fst.io import paths


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Empty files in folders; the working folder is the root."""
    names = "b.jpg a.PNG notes.txt .hidden.jpg sub/c.webp sub/deep/d.tif .git/e.jpg bare/x.txt"
    for name in [*names.split(), "odd[1].jpg"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*given):
    return [str(path) for path in paths.find(given)]


def test_folder_gives_nested_visible_pictures_sorted(tree):
    assert names(".") == ["a.PNG", "b.jpg", "odd[1].jpg", "sub/c.webp", "sub/deep/d.tif"]


def test_named_file_is_returned_whatever_its_suffix(tree):
    assert names("notes.txt", ".hidden.jpg") == ["notes.txt", ".hidden.jpg"]
    assert paths.find("b.jpg") == paths.find(Path("b.jpg")) == [Path("b.jpg")]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["b.jpg", "odd[1].jpg"]),
        ("?.*", ["a.PNG", "b.jpg"]),
        ("[bc].jpg", ["b.jpg"]),
        ("s*/*.webp", ["sub/c.webp"]),
        ("**/*.tif", ["sub/deep/d.tif"]),
        ("s*", ["sub/c.webp", "sub/deep/d.tif"]),
        ("**", ["a.PNG", "b.jpg", "odd[1].jpg", "sub/c.webp", "sub/deep/d.tif"]),
        (".git/*", [".git/e.jpg"]),
    ],
)
def test_pattern_gives_visible_pictures_sorted(tree, pattern, expected):
    assert names(pattern) == expected
    assert names(str(tree / pattern)) == [str(tree / name) for name in expected]


def test_file_that_exists_literally_wins_over_the_pattern(tree):
    assert names("odd[1].jpg") == ["odd[1].jpg"]


def test_duplicates_are_removed_and_the_order_kept(tree):
    assert names("sub", "b.jpg", "./b.jpg", "*.jpg", str(tree / "b.jpg")) == [
        "sub/c.webp",
        "sub/deep/d.tif",
        "b.jpg",
        "odd[1].jpg",
    ]


def test_all_problems_are_listed_in_one_line(tree):
    given = ("missing.jpg", "b.jpg", "*.gif", "bare", "", "two\nlines", "x\0y")
    with pytest.raises(FstError) as caught:
        paths.find(given)
    message = str(caught.value)
    assert "\n" not in message and message.count(";") >= 5
    for part in ("missing.jpg", "*.gif", "bare", "empty path", r"two\nlines", r"x\x00y"):
        assert part in message
    assert "b.jpg" not in message


def test_link_loops_end_and_linked_folders_are_followed_once(tree, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "far.jpg").touch()
    for name, target in {"up": "..", "here": ".", "link": elsewhere, "link2": elsewhere}.items():
        (tree / "sub" / name).symlink_to(target)
    expected = ["sub/c.webp", "sub/deep/d.tif", "sub/link/far.jpg"]
    assert names("sub") == expected
    assert names("sub/**/*") == expected


def test_home_folder_is_expanded(tree, monkeypatch):
    monkeypatch.setenv("HOME", str(tree))
    assert paths.find(["~/b.jpg"]) == [tree / "b.jpg"]


def test_undecodable_file_name_is_reported_in_printable_text():
    assert paths.printable("a\udcff\n.jpg").encode() == rb"a\udcff\n.jpg"


def test_unused_path_counts_up(tmp_path):
    path = tmp_path / "a.b.png"
    assert paths.unused_path(path) == path
    path.touch()
    assert paths.unused_path(path) == tmp_path / "a.b-1.png"
    (tmp_path / "a.b-1.png").symlink_to("nowhere")
    assert paths.unused_path(path) == tmp_path / "a.b-2.png"


def test_importing_loads_no_decoder():
    code = "import sys, fst.io.paths; sys.exit('PIL' in sys.modules or 'torch' in sys.modules)"
    root = Path(paths.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
