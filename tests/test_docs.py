"""The documentation: links hold in the repository and on the site, commands shown have their flags,
the notebook runs."""

import configparser
import inspect
import json
import os
import re
import shlex
from contextlib import redirect_stdout, suppress
from functools import cache
from importlib import import_module
from io import StringIO
from pathlib import Path

import pytest

from fst.cli.commands import COMMANDS
from fst.losses import objective
from fst.stylize.stylizer import Stylizer

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("checkpoints/*.md"),
     *ROOT.glob("datasets/*.md")]
)  # fmt: skip
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")
ids = [page.relative_to(ROOT).as_posix() for page in PAGES]


def fences(text, *kinds):
    """The contents of fenced blocks of some kinds."""
    found = re.findall(r"^```([\w-]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [content for kind, content in found if kind in kinds]


def without_code(text):
    return re.sub(r"^```.*?^```$|`[^`\n]+`", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page):
    """Anchors of the headings of a page, as GitHub and MkDocs make them of plain words."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


# Links


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_between_files_lead_to_files_and_their_headings(page):
    for target in LINK.findall(without_code(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), f"{page.name}: {target}"
        assert file.resolve().is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(file), f"{page.name}: {target}"


def test_pictures_have_words_for_those_who_cannot_see_them():
    for page in PAGES:
        assert not re.search(r"!\[\s*\]\(", without_code(page.read_text())), page


@pytest.fixture(scope="module")
def hooks(load_script):
    pytest.importorskip("mkdocs")
    pytest.importorskip("latex2mathml")
    return load_script("docs_hooks")


def test_links_of_the_repository_are_turned_to_those_of_the_site(hooks):
    from pathlib import PurePosixPath

    def turned(target, repository, source):
        return hooks.turn(target, PurePosixPath(repository), source)

    assert turned("control.md#masks", "docs/train.md", "train.md") == "control.md#masks"
    assert turned("../README.md", "docs/train.md", "train.md") == "index.md"
    assert turned("docs/faq.md", "CONTRIBUTING.md", "contributing.md") == "faq.md"
    assert turned("../SECURITY.md", "docs/api/a.md", "api/a.md") == "../SECURITY.md"  # not there
    assert turned("../../SECURITY.md", "docs/api/a.md", "api/a.md") == "../security.md"
    assert turned("#here", "docs/a.md", "a.md") == "#here"
    assert turned("https://a.b/c.md", "docs/a.md", "a.md") == "https://a.b/c.md"


def test_formulas_become_mathml_that_reads_as_they_do(hooks):
    from xml.etree import ElementTree

    made = hooks.mathml(r"\frac{\lVert x &lt; y \rVert^2}{N}", True, None)
    root = ElementTree.fromstring(made)
    (fraction,) = root.iter("{http://www.w3.org/1998/Math/MathML}mfrac")
    above, below = ("".join(part.itertext()) for part in fraction)
    assert (above, below) == ("‖x<y‖2", "N")


def test_every_page_and_picture_taken_in_exists(hooks):
    assert all((ROOT / path).is_file() for path in hooks.TAKEN_IN)


# Commands


def run_help(main, *arguments):
    told = StringIO()
    with redirect_stdout(told), suppress(SystemExit):
        main([*arguments, "--help"])
    return told.getvalue()


@cache
def flags_of(command):
    """The flags that a command's help shows; of `fst-styles`, those of its commands too."""
    main = import_module(f"fst.cli.{command}").main
    told = run_help(main)
    if command == "styles":
        below = ("list", "extract", "merge", "remove", "rename")
        told += "".join(run_help(main, name) for name in below)
    return {*re.findall(r"(?<![\w-])(--?[a-zA-Z][\w-]*)", told), "--version"}


@cache
def trainer_flags():
    import pytorch_lightning as pl

    return {f"--trainer.{name}" for name in inspect.signature(pl.Trainer.__init__).parameters}


def command_lines(text):
    """Words of every command in the `sh` blocks of a page, those within $(...) too."""
    for block in fences(text, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            inner = re.findall(r"\$\(([^()]*)\)", line)
            for command in [*inner, re.sub(r"\$\([^()]*\)", "X", line)]:
                yield from _parts(shlex.split(command.replace("$((", "((").replace("`", " "), True))


def _parts(words):
    """The commands of a line."""
    part: list[str] = []
    for word in [*words, ";"]:
        if word in (";", "|", "&&", "||", ">", "{", "}", "do", "done"):
            if part:
                yield part
            part = []
        else:
            part.append(word.rstrip(";"))


def program_in(words):
    """Command of ours that a line calls, and what follows it."""
    for place, word in enumerate(words):
        if match := re.fullmatch(r"(?:.*/)?fst-([a-z]+)", word):
            return match[1], words[place + 1 :]
        if (match := re.fullmatch(r"fst\.cli\.([a-z]+)", word)) and words[place - 1] == "-m":
            return match[1], words[place + 1 :]
        if word == "fst" and (place == 0 or words[place - 1] in ("-m", ".")):
            rest = words[place + 1 :]
            if rest and not rest[0].startswith("-") and rest[0] != "completion":
                return rest[0], rest[1:]
        if re.fullmatch(r"scripts/train_\w+\.sh", word):
            return "train", words[place + 1 :]
    return None, []


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commands_shown_exist_with_the_flags_shown(page):
    for words in command_lines(page.read_text()):
        command, rest = program_in(words)
        if command is None:
            continue
        assert command in COMMANDS, f"{page.name}: {' '.join(words)}"
        for word in rest:
            flag = word.partition("=")[0]
            if flag.startswith("--trainer."):
                assert flag in trainer_flags(), f"{page.name}: {' '.join(words)}"
            elif re.match(r"--?[a-zA-Z]", flag):
                assert flag in flags_of(command), f"{page.name}: {' '.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_scripts_targets_and_extras_shown_exist(page):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = set(config["options.extras_require"])
    for words in command_lines(page.read_text()):
        shown = " ".join(words)
        for place, word in enumerate(words):
            if match := re.search(r"\.\[([\w,]+)\]", word):
                assert set(match[1].split(",")) <= extras, shown
            if re.fullmatch(r"(scripts|datasets)/\w+\.(py|sh)", word):
                source = (ROOT / word).read_text()
                flags = [w.partition("=")[0] for w in words[place + 1 :] if w.startswith("--")]
                known = source + "".join(
                    file.read_text()
                    for name in re.findall(r"^from (\w+) import", source, re.MULTILINE)
                    if (file := ROOT / "scripts" / f"{name}.py").exists()
                )
                if word.endswith(".py"):
                    assert all(f'"{f}"' in known for f in {*flags} - {"--help"}), shown
        if words[0] == "make":
            assert set(words[1:]) <= targets, shown


# Of other programs.
FOREIGN = {"--help", "--version", "--host", "--bind_all", "--logdir", "--trainer.NAME", "--from"}


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_flags_named_in_prose_are_flags_of_a_command(page):
    known = set.union(*map(flags_of, COMMANDS)) | trainer_flags() | FOREIGN
    scripts = "".join(file.read_text() for file in (ROOT / "scripts").glob("*.py"))
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for code in re.findall(r"`([^`\n]+)`", prose):
        for flag in re.findall(r"(?<![\w-])--[\w][\w.-]*", code):
            of_script = f'"{flag}"' in scripts or f'"{flag[2:]}"' in scripts
            assert flag in known or of_script, f"{page.name}: {code}"


def test_every_command_has_its_help_in_the_reference():
    text = (ROOT / "docs" / "commands.md").read_text()
    assert all(f"\n## fst-{name}\n\n<!-- help: fst-{name} -->\n" in text for name in COMMANDS)


def test_paths_of_scripts_and_modules_named_in_prose_exist():
    pattern = r"`((?:scripts|fst|tests|datasets|docs)/[\w/.-]+\.(?:py|sh|yaml|ipynb|md))"
    for page in PAGES:
        if page.name == "CHANGELOG.md":  # what was there then
            continue
        for path in re.findall(pattern, page.read_text()):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_a_wrong_flag_would_be_found(tmp_path):
    text = "```sh\nOMP=1 fst-infer a.jpg --styel wave  # no such flag\n```\n"
    ((command, rest),) = (program_in(words) for words in command_lines(text))
    assert command == "infer" and "--styel" in rest
    assert "--styel" not in flags_of("infer") and "--style" in flags_of("infer")


# Pictures


def test_the_picture_of_the_network_is_the_scripts(load_script):
    drawn = load_script("draw_architecture").picture()
    assert (ROOT / "docs" / "pictures" / "architecture.svg").read_text() == drawn


def test_a_picture_is_cut_to_the_shape_of_its_cell(load_script):
    import torch

    fitted = load_script("paint_docs").fitted
    wide = torch.arange(300.0).expand(3, 100, 300)
    assert fitted(wide, 50, 50).shape == (3, 100, 100)
    assert fitted(wide, 50, 50)[0, 0, 0] == 100  # the middle
    assert fitted(wide.mT, 60, 30).shape == (3, 50, 100)


# Notebook


def test_the_notebook_runs_and_shows_pictures():
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(ROOT / "docs" / "notebooks" / "tour.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # none are committed
    search = os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    client = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3")
    client.execute(env={**os.environ, "PYTHONPATH": search})
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 4
    printed = "".join(o["text"] for o in outputs if o["output_type"] == "stream")
    gallery = Path(inspect.getfile(Stylizer)).parents[1] / "assets" / "gallery.safetensors"
    assert str(Stylizer(gallery).style_names) in printed


def test_the_notebooks_cells_are_a_page(hooks):
    path = ROOT / "docs" / "notebooks" / "tour.ipynb"
    page = hooks.notebook_page(path)
    cells = json.loads(path.read_text())["cells"]
    assert page.startswith("# ")
    assert page.count("```python\n") == sum(cell["cell_type"] == "code" for cell in cells)


def test_the_default_weights_are_those_of_the_formula():
    """In its order: content, style, tv, and those of training alone."""
    text = (ROOT / "docs" / "how_it_works.md").read_text()
    told = re.search(r"default weights are\s+(.+?) and (\d+), in this order", text)
    numbers = [*told[1].split(", "), told[2]]
    expected = [*objective.WEIGHTS, *objective.TRAINING_WEIGHTS.values()]
    assert [float(number) for number in numbers] == expected
