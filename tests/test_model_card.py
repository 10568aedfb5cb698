"""The model card: what it says, that names stay plain text, and that no run fails by it."""

import json
import shlex
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import SCRIPTS, smooth_field
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from fst import Stylizer
from fst.assets import GALLERY
from fst.cli.train import main
from fst.errors import FstError
from fst.io.markdown import escaped
from fst.io.paths import printable
from fst.style_model.card import card_text, text_of
from fst.style_model.labelled import card_picture

ROOT = SCRIPTS.parent
NASTY = [
    "a|b",
    "**bold** _it_ __x__ `code`",
    "<script>alert(1)</script>",
    "[link](http://x.example) ![i](x.png)",
    "https://x.example www.x.example a@x.example",
    "# head",
    "&amp; $x$ ~~no~~ \\",
    "two\nlines\r\n| --- |",
    "---",
]


def metadata_of(names, training=None):
    styles = [{"name": name, "images": [f"{i}.jpg"]} for i, name in enumerate(names)]
    architecture = {"num_styles": len(names), "width": 0.5, "num_blocks": 5}
    return {
        "format": 1,
        "fst_version": "0.1.0",
        "architecture": architecture,
        "styles": styles,
        "training": training or {},
    }


def split(text):
    """Head and body."""
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def shown(tokens):
    """The text of inline tokens, and their kinds."""
    children = [child for token in tokens for child in token.children or []]
    return "".join(child.content for child in children), {child.type for child in children}


# ---- text ---------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=70))
@example("a_b _c_ d__e__")
@example("*")
def test_any_text_is_shown_as_it_is(text):
    """Rendered by another program, Markdown's own rules decide."""
    markdown = pytest.importorskip("markdown_it").MarkdownIt("gfm-like", {"linkify": False})
    tokens = markdown.parse(f"| a |\n| --- |\n| x{escaped(text)}x |\n\nend")
    cells = [t for before, t in pairwise(tokens) if before.type == "td_open"]
    assert len(cells) == 1
    content, kinds = shown(cells)
    expected = printable(text)
    expected = expected if len(expected) <= 80 else f"{expected[:77]}..."
    assert content == f"x{expected}x"
    assert kinds <= {"text", "text_special"}


@pytest.mark.parametrize("name", NASTY)
def test_a_name_is_a_cell_of_the_table_whatever_it_is(name):
    markdown = pytest.importorskip("markdown_it").MarkdownIt("gfm-like", {"linkify": False})
    tokens = markdown.parse(split(card_text(metadata_of([name, "b"]), "m.safetensors"))[1])
    rows = [t for t in tokens if t.type == "tr_open"]
    assert len(rows) == 3  # head and two styles
    assert not [t for t in tokens if t.type.startswith("html")]
    content, _ = shown([t for t in tokens if t.type == "inline"])
    assert printable(name) in content


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda x: (
            st.lists(x, max_size=3)
            | st.dictionaries(
                st.sampled_from(["settings", "metrics", "run", "step", "weights", "content", "a"]),
                x,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_a_file_may_say_anything_about_its_training(training):
    head, body = split(card_text({**metadata_of(["a"]), "training": training}, "m.safetensors"))
    assert head["library_name"] == "fst" and "## Limits" in body


def test_the_head_is_what_huggingface_hub_reads():
    hub = pytest.importorskip("huggingface_hub")
    text = card_text(metadata_of(["a"]), "m.safetensors", license_name="cc-by-4.0")
    data = hub.ModelCard(text).data
    assert data.license == "cc-by-4.0" and data.library_name == "fst"
    assert data.pipeline_tag == "image-to-image" and "style-transfer" in data.tags


def test_what_was_not_measured_is_told_so():
    metrics = {"val/style/a": 0.25, "val/content/a": float("nan")}
    metrics |= {"val/style/b": 10**400, "val/content/b": True}
    body = split(card_text(metadata_of(["a", "b"], {"metrics": metrics}), "m.safetensors"))[1]
    assert "| 0 | a | 0.jpg | 0.250 | not measured |" in body
    assert "| 1 | b | 1.jpg | not measured | not measured |" in body
    assert "were not measured" in split(card_text(metadata_of(["a"]), "m.safetensors"))[1]


def test_the_examples_of_a_card_name_the_file_and_quote_names():
    body = card_text(metadata_of(["it's"]), "my model.safetensors")
    assert "--model 'my model.safetensors' --style 'it'\"'\"'s'" in body
    code = body.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert """stylize("photo.jpg", "it's")""" in code


def test_the_galleries_card_in_the_documentation_is_of_the_gallery():
    text = (ROOT / "docs" / "gallery.md").read_text()
    assert text == text_of(Stylizer(GALLERY), "gallery.jpg")
    with Image.open(ROOT / "docs" / "gallery.jpg") as picture:
        assert picture.format == "JPEG" and min(picture.size) > 500


@pytest.mark.parametrize("shipped", [True, False])
def test_the_examples_of_a_card_run(run, tmp_path, monkeypatch, shipped):
    from fst.cli.infer import main as infer

    monkeypatch.chdir(tmp_path)
    smooth_field(1, 40, 33).save("photo.jpg")
    text = (ROOT / "docs" / "gallery.md" if shipped else run / "model.md").read_text()
    if not shipped:
        Path("model.safetensors").symlink_to(run / "model.safetensors")
    for line in text.split("```sh\n")[1].split("```")[0].splitlines():
        assert infer(shlex.split(line)[1:]) == 0
    exec(text.split("```python\n")[1].split("```")[0], {})
    assert Path("painting.png").is_file() and len(list(Path().glob("photo_*"))) == 1


# ---- picture ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("styles", "size"), [(1, (552, 412)), (3, (552, 812)), (7, (816, 772))])
def test_the_picture_has_a_row_for_each_style_and_two_columns_for_many(styles, size):
    """Each style paints its own grey, which is found where its row is."""

    def paint(photo, style_id):
        assert photo.shape == (3, 40, 40)
        return torch.full_like(photo, (style_id + 1) / 10)

    photos = [torch.zeros(3, 40, 64)] * 3
    sheet = np.asarray(card_picture(paint, photos, [f"s{i}" for i in range(styles)]))
    assert sheet.shape[1::-1] == size
    levels = {round(25.5 * (i + 1)) for i in range(styles)}
    found = {int(v) for v in np.unique(sheet[:, :, 0]) if (sheet[:, :, 0] == v).sum() > 10_000}
    assert found == {0, 255} | levels


# ---- runs ---------------------------------------------------------------------------------------


def test_a_run_leaves_a_card_with_its_figures_and_settings(run, photo_folder, style_files):
    text = (run / "model.md").read_text()
    head, body = split(text)
    assert head["license"] == "unknown"
    metrics = Stylizer(run / "model.safetensors").metadata["training"]["metrics"]
    for style_id, (name, file) in enumerate([("stripes", "stripes.png"), ("cloud", "cloud.jpg")]):
        kinds = ("style", "content", "brushwork")
        distances = [f"{metrics[f'val/{kind}/{name}']:.3f}" for kind in kinds]
        assert f"| {style_id} | {name} | {file} | {' | '.join(distances)} |" in body
    assert "Gram matrices (relu1_2, relu2_2, relu3_3, relu4_3, relu5_1)" in body
    for row in (
        "steps | 12",
        "images per step | 2",
        "size of the images | 48 px",
        f"trained on | 11 photos ({photo_folder.name})",
        "held out | 1 photo",
        "loss network | slim_vgg19.safetensors",
        "seed | 0",
        "precision | 32-true",
    ):
        assert f"| {row} |" in body
    assert f"torch {torch.__version__}" in body
    for folder in (run, photo_folder, style_files[0].parent, Path.home(), ROOT):
        assert str(folder) not in text


def test_the_picture_of_a_run_shows_its_paintings(run):
    """The held-out photo is read off the picture, and painted again by the model."""
    sheet = np.asarray(Image.open(run / "model.jpg").convert("RGB"), float)
    left, cell, caption, gap = 6 + 176 + 6, 176, 24, 6
    assert sheet.shape == (2 * gap + 3 * (caption + cell), left + cell + gap, 3)

    def at(row):
        top = gap + row * (caption + cell) + caption
        return sheet[top : top + cell, left : left + cell]

    photo = Image.fromarray(at(0).astype(np.uint8)).resize((48, 48), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1).float() / 255
    stylizer = Stylizer(run / "model.safetensors")
    for style_id in (0, 1):
        painted = (255 * stylizer.stylize(pixels, style_id).permute(1, 2, 0)).numpy()
        small = Image.fromarray(at(1 + style_id).astype(np.uint8)).resize((48, 48))
        # The network of twelve steps enlarges what JPEG and the two sizes have changed.
        apart = [np.abs(other - np.asarray(small, float)).mean() for other in (painted, photo)]
        assert apart[0] < 12 < 24 < apart[1]


def test_a_card_that_cannot_be_written_fails_no_run(train_argv, tmp_path, monkeypatch, capsys):
    def full(*args):
        raise FstError("model.jpg: cannot write it (No space left on device)")

    monkeypatch.setattr("fst.training.card.write_atomically", full)
    assert main(train_argv(tmp_path / "run")) == 0
    assert "no model card: model.jpg: cannot write it (No space" in capsys.readouterr().err
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_only_the_first_process_writes_a_card(tmp_path, capsys):
    from types import SimpleNamespace

    from fst.training.card import RunCard

    (tmp_path / "model.safetensors").touch()
    trainer = SimpleNamespace(is_global_zero=False, global_step=3)
    card = RunCard(tmp_path / "model.safetensors")
    card.on_fit_end(trainer, None)
    card.on_exception(trainer, None, KeyboardInterrupt())
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert capsys.readouterr() == ("", "")


def test_an_interrupted_run_leaves_a_card_that_says_so(
    train_argv, tmp_path, interrupted_at, keep_interrupts
):
    interrupted_at(7, KeyboardInterrupt())
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        main(train_argv(tmp_path / "run"))
    text = (tmp_path / "run" / "model.md").read_text()
    assert "| steps | 7 of 12, interrupted |" in text
    assert "after step 6" in text and "model.jpg" not in text
    assert main(train_argv(tmp_path / "run", "--resume", tmp_path / "run" / "last.ckpt")) == 0
    text = (tmp_path / "run" / "model.md").read_text()
    assert "| steps | 12 |" in text and "(model.jpg)" in text


def test_a_model_with_added_styles_has_a_card_of_all(run, train_argv, tmp_path, style_files):
    argv = ["--styles", style_files[1], "--add-to", run / "model.safetensors", "--steps", 2]
    argv = train_argv(tmp_path / "run", *argv, "--val-every", 2)
    (tmp_path / "new.jpg").write_bytes(Path(style_files[1]).read_bytes())
    argv[argv.index(str(style_files[1]), argv.index("--add-to") - 2)] = str(tmp_path / "new.jpg")
    assert main(argv) == 0
    body = split((tmp_path / "run" / "model.md").read_text())[1]
    assert "| 0 | stripes | stripes.png | not measured | not measured |" in body
    assert "| 2 | new | new.jpg | 0." in body or "| 2 | new | new.jpg | 1." in body
    height = Image.open(tmp_path / "run" / "model.jpg").size[1]
    assert height == 12 + 4 * 200


def test_metadata_of_a_run_is_plain(run):
    metadata = Stylizer(run / "last.ckpt").metadata
    assert json.loads(json.dumps(metadata)) == metadata
    assert metadata["training"]["run"]["held_out"] == "1 photo"


def test_photos_that_were_trained_on_are_not_called_held_out(tmp_path, photo_folder):
    from fst.data.datamodule import ContentDataModule
    from fst.training.card import _data_facts

    for name in ("photo00.png", "photo01.png"):
        (tmp_path / name).write_bytes((photo_folder / name).read_bytes())
    few = _data_facts(ContentDataModule([tmp_path], size_px=32))
    assert few["held_out"] == "2 photos of those trained on"
    assert few["content"] == f"2 photos ({tmp_path.name})"
    enough = _data_facts(ContentDataModule([photo_folder], size_px=32))
    assert enough["held_out"] == "1 photo"
    drawn = _data_facts(ContentDataModule(None, size_px=32))
    assert drawn["content"] == "300 drawn scenes" and drawn["held_out"] == "4 drawn scenes"
