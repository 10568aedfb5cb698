"""What all commands have: one version, `python -m fst`, completion in the shell."""

import configparser
import json
import os
import shutil
import stat
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from packaging.version import Version

import fst
from fst.__main__ import main
from fst.assets import GALLERY, VGG16_LITE
from fst.cli.commands import COMMANDS
from fst.style_model.names import style_names_in

ROOT = Path(__file__).parents[1]


def run(*arguments, **kwargs):
    """A program, without a terminal."""
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120, **kwargs)


def python(*arguments, **kwargs):
    return run(sys.executable, *arguments, **kwargs)


# Commands by name


def test_every_installed_program_is_a_known_command_and_the_other_way_round():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options.entry_points"]["console_scripts"].split("\n")
    programs = dict(line.split(" = ") for line in lines if line)
    assert programs.pop("fst") == "fst.__main__:main"
    assert programs == {f"fst-{name}": f"fst.cli.{name}:main" for name in COMMANDS}


def test_without_arguments_the_commands_are_listed(capsys):
    assert main([]) == 0
    told = capsys.readouterr().out
    for name, text in COMMANDS.items():
        assert f"  {name} " in told and text in told


def test_an_unknown_command_is_answered_with_the_known_ones(capsys):
    assert main(["pain"]) == 2
    told = capsys.readouterr()
    assert told.out == "" and "'pain'" in told.err and "train, infer" in told.err


def test_a_command_runs_as_its_module_does_with_its_arguments_and_exit_code(tmp_path):
    code = "import sys; print(__spec__.name, sys.argv[1:]); sys.exit(3)"
    (tmp_path / "probe.py").write_text(code)
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import fst.cli, fst.__main__ as m; "
        f"fst.cli.__path__.append({str(tmp_path)!r}); m.COMMANDS['probe'] = ''; "
        "sys.argv[1:] = ['probe', '--steps', '2']; m.main()"
    )
    done = python("-c", script)
    # Lightning starts further processes as `python -m` that name with those arguments.
    assert (done.stdout, done.returncode) == ("fst.cli.probe ['--steps', '2']\n", 3)


def test_a_command_is_dispatched():
    done = python("-m", "fst", "styles", "list", "gallery")
    assert done.returncode == 0 and "  2  wave" in done.stdout
    assert python("-m", "fst", "styles", "list", "absent.safetensors").returncode == 2


# Version


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_command_says_the_packages_version(name, capsys):
    program = f"fst-{name}" if name else "fst"
    if name:
        with pytest.raises(SystemExit) as caught:
            import_module(f"fst.cli.{name}").main(["--version"])
        assert caught.value.code == 0
    else:
        assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{program} {fst.__version__}\n"


def test_the_version_is_told_without_torch():
    for name in COMMANDS:
        code = (
            f"import sys; from fst.cli.{name} import main\n"
            "try: main(['--version'])\nexcept SystemExit: print('torch' in sys.modules)"
        )
        assert python("-c", code).stdout.splitlines()[-1] == "False", name


def test_the_changelog_begins_with_this_version():
    headings = [ln for ln in (ROOT / "CHANGELOG.md").read_text().splitlines() if ln[:3] == "## "]
    versions = [line.split("[")[1].split("]")[0] for line in headings]
    now, last = Version(fst.__version__), Version(versions[1])
    assert versions[0] == "Unreleased"
    assert now == last or (now.is_devrelease and now > last)


def test_the_public_names_are_those_that_dir_shows():
    assert set(fst.__all__) <= set(dir(fst))
    assert all(getattr(fst, name) for name in fst.__all__)
    with pytest.raises(AttributeError, match="Styliser"):
        _ = fst.Styliser


# Completion


@pytest.fixture
def programs(tmp_path):
    """The programs as a folder for PATH, as pip would make them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in COMMANDS:
        file = folder / f"fst-{name}"
        module = f"from fst.cli.{name} import main"
        # argcomplete's mark is not needed: the shell is told the programs by name.
        file.write_text(f"#!{sys.executable}\nimport sys\n{module}\nsys.exit(main())\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return folder


def completed(programs, line, folder):
    """What bash offers for a line, asked as bash asks: through the function it has registered."""
    ask = f"""
set -e
eval "$('{sys.executable}' -m fst completion bash)"
line={json.dumps(line)}
read -ra COMP_WORDS <<< "$line"
[[ "$line" == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); COMP_LINE="$line"; COMP_POINT=${{#line}}; COMP_TYPE=9
spec=$(complete -p "${{COMP_WORDS[0]}}"); spec=${{spec##*-F }}
"${{spec%% *}}" "${{COMP_WORDS[0]}}" "${{COMP_WORDS[-1]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    search = os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    done = run(
        "bash", "-c", ask, env={**os.environ, "PATH": path, "PYTHONPATH": search}, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return [word.strip() for word in done.stdout.splitlines()]


@pytest.mark.parametrize(
    "line, offered",
    [
        ("fst-infer --keep-colors h", {"histogram"}),
        ("fst-infer --precision ", {"fp32", "bf16"}),
        ("fst-infer --blend", {"--blend-grid"}),
        (
            "fst-infer --style s",
            {"shipwreck", "starry_night", "signac", "stained_glass", "sorolla_beach"},
        ),
        ("fst-train --style-w", {"--style-weight"}),
        ("fst-gatys --opt", {"--optimizer"}),
        ("fst-gram --pat", {"--patches"}),
        ("fst-infer --sequ", {"--sequence"}),
        ("fst-export --format ", {"onnx", "torch", "card"}),
        ("fst-demo --max-m", {"--max-megapixels", "--max-memory"}),
        ("fst-styles re", {"remove", "rename"}),
        ("fst-styles merge --in", {"--in-place"}),
    ],
)
def test_bash_completes(line, offered, programs, tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    assert set(completed(programs, line, folder)) == offered


def test_bash_completes_styles_of_the_model_named_and_files(programs, tmp_path):
    from infer_inputs import save_model

    folder = tmp_path / "here"
    folder.mkdir()
    save_model(folder / "mine.safetensors", ["ink", "indigo", "oil"])
    (folder / "photo one.jpg").touch()
    line = "fst-infer --model mine.safetensors --style "
    assert set(completed(programs, f"{line}in", folder)) == {"ink", "indigo"}
    assert completed(programs, "fst-infer ph", folder) == ["photo\\ one.jpg"]
    # A file that is no model offers nothing, and says nothing.
    deep = b'{"__metadata__":' + b"[" * 200_000
    (folder / "deep.safetensors").write_bytes(len(deep).to_bytes(8, "little") + deep)
    assert completed(programs, "fst-infer --model deep.safetensors --style w", folder) in ([], [""])
    assert completed(programs, "fst-infer --model photo.jpg --style w", folder) in ([], [""])


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish here")
def test_fish_completes(programs, tmp_path):
    ask = f"'{sys.executable}' -m fst completion fish | source; complete -C 'fst-infer --style s'"
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    search = os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": search, "HOME": str(tmp_path)}
    offered = run("fish", "-c", ask, env=environment, cwd=tmp_path).stdout.split()
    assert set(offered) == {"shipwreck", "starry_night", "signac", "stained_glass", "sorolla_beach"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_every_shells_script_names_every_program(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(f"fst-{name}" in script for name in COMMANDS)


def test_an_unknown_shell_is_refused(capsys):
    assert main(["completion", "dos"]) == 2
    assert "bash" in capsys.readouterr().err


def test_style_names_are_read_from_the_header_alone():
    from fst.stylize.stylizer import Stylizer

    assert style_names_in(GALLERY) == Stylizer(GALLERY).style_names
    with pytest.raises((ValueError, KeyError, TypeError)):
        style_names_in(VGG16_LITE)


def test_a_header_of_any_stated_length_is_no_memory_taken(tmp_path):
    file = tmp_path / "hostile.safetensors"
    file.write_bytes((1 << 60).to_bytes(8, "little"))
    with pytest.raises(ValueError):
        style_names_in(file)
