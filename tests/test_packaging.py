"""The archives that are published: what is in them, and that they run without the repository."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from conftest import smooth_field

import fst
from fst.cli.commands import COMMANDS
from fst.io import images

ROOT = Path(__file__).parents[1]


def tracked():
    """Files of the repository, as git or, in an unpacked archive, the folder tells."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git repository")
    return done.stdout.split("\n")[:-1]


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Source archive and wheel, the wheel built from the source archive."""
    pytest.importorskip("build")
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "source"
    for path in tracked():  # not in the repository: setuptools leaves folders behind
        if (ROOT / path).is_file():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes((ROOT / path).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "-o", folder, source]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(archives, tmp_path_factory):
    """The wheel, unpacked as pip does, in a folder of its own."""
    folder = tmp_path_factory.mktemp("target")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index",
        "--no-compile", "--target", folder, archives[1]]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return folder


def run(installed, here, *arguments):
    """A command of the wheel, in a folder of its own."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    search = [str(installed), *(path for path in given if path and Path(path).resolve() != ROOT)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(search)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=here, env=environment, capture_output=True, text=True
    )


def test_the_wheel_holds_the_package_and_nothing_else(archives):
    with zipfile.ZipFile(archives[1]) as wheel:
        names = set(wheel.namelist())
    package = {path for path in tracked() if path.startswith("fst/")}
    assert {name for name in names if not name.startswith("fst-")} == package
    assert {"fst/assets/gallery.safetensors", "fst/assets/vgg16_lite.safetensors"} <= names
    assert {"fst/export/web/index.html", "fst/export/web/page.js"} <= names
    assert {"fst/assets/sample.jpg", "fst/gramlab/report.html", "fst/py.typed"} <= names
    (licence,) = (name for name in names if name.endswith("/LICENSE"))
    assert licence.startswith(f"fst-{fst.__version__}.dist-info/")


def test_the_wheels_metadata_are_those_of_the_package(archives):
    with zipfile.ZipFile(archives[1]) as wheel:
        about = f"fst-{fst.__version__}.dist-info"
        metadata = wheel.read(f"{about}/METADATA").decode()
        programs = wheel.read(f"{about}/entry_points.txt").decode()
    assert f"\nVersion: {fst.__version__}\n" in metadata
    assert all(f"\nfst-{name} = fst.cli.{name}:main" in programs for name in COMMANDS)
    assert "\nfst = fst.__main__:main" in programs


def test_the_source_archive_holds_what_tests_and_documentation_need(archives):
    with tarfile.open(archives[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    left_out = {path for path in tracked() if path not in names}
    assert all(path.startswith(".") for path in left_out), left_out


def test_the_wheel_paints_and_trains_where_there_is_no_repository(installed, tmp_path):
    where = run(installed, tmp_path, "-c", "import fst; print(fst.__file__)")
    assert Path(where.stdout.strip()).is_relative_to(installed)
    done = run(installed, tmp_path, "-m", "fst", "infer", "--style", "wave", "--size", "64",
        "-o", "painted.png")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert images.load(tmp_path / "painted.png").shape[1] == 64
    (tmp_path / "photos").mkdir()
    for number in range(3):  # drawing scenes takes longer than two steps
        smooth_field(number).save(tmp_path / "photos" / f"{number}.png")
    done = run(installed, tmp_path, "-m", "fst", "train", "--styles", "painted.png", "--steps", "2",
        "--content", "photos", "--size", "48", "--batch-size", "1", "--style-size", "64",
        "-o", "one")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "one" / "model.safetensors").stat().st_size > 1_000_000
