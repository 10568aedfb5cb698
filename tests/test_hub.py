"""Style models on the Hub, against a stand-in on the loopback address."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from conftest import smooth_field
from hub_stub import hub_stub
from test_export import NAMES, saved, trained_like

from fst import Stylizer

pytest.importorskip("huggingface_hub")

CALLS = Path(__file__).with_name("hub_calls.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    saved(folder, trained_like(), "mine.safetensors")
    smooth_field(1, 40, 33).save(folder / "photo.png")
    return folder


@pytest.fixture(scope="module")
def hub(folder):
    """The stand-in after all calls; and what they printed."""
    with hub_stub() as server:
        # A model whose header asks for more than there is, and settings that are none.
        server.others["me/evil"] = {
            "model.safetensors": (2**40).to_bytes(8, "little") + b"{}",
            "config.json": b'{"model": "/etc/passwd", "device": "cuda:7"}',
        }
        environment = {
            **os.environ,
            "HF_ENDPOINT": server.url,
            "HF_HOME": str(folder / "home"),
            "HF_TOKEN": "hf_secret",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
        }
        argv = [sys.executable, CALLS, folder / "mine.safetensors", folder]
        done = subprocess.run(list(map(str, argv)), env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        yield server, json.loads(done.stdout.splitlines()[-1])


def test_a_push_makes_the_repository_and_commits_model_card_and_picture(hub, folder):
    server, told = hub
    assert server.created == [{"name": "my-styles", "organization": "me", "visibility": "private"}]
    assert told["url"].startswith(f"{server.url}/me/my-styles/commit/")
    assert sorted(server.files) == ["README.md", "model.jpg", "model.safetensors"]
    assert server.files["model.jpg"][:2] == b"\xff\xd8"
    card = server.files["README.md"].decode()
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["license"] == "cc-by-4.0" and head["library_name"] == "fst"
    assert "--model model.safetensors" in card and "(model.jpg)" in card
    for content in server.files.values():
        assert str(folder).encode() not in content and b"mine.safetensors" not in content


def test_what_is_fetched_paints_as_what_was_pushed(hub, folder):
    _, told = hub
    assert told["names"] == NAMES
    expected = Stylizer(folder / "mine.safetensors").stylize(folder / "photo.png", "wave")
    assert torch.equal(torch.tensor(told["painting"]), expected.flatten())


def test_what_cannot_be_fetched_is_told_in_a_line(hub):
    _, told = hub
    for key, name in (("missing", "me/no-such"), ("no name", "a/b/c")):
        assert told[key].startswith(f"{name}: cannot fetch its model.safetensors (")
        assert "\n" not in told[key]


def test_a_damaged_model_is_refused_and_settings_are_not_even_asked_for(hub):
    server, told = hub
    assert "not a readable style model" in told["evil"]
    assert not [path for _, path, _ in server.requests if "config.json" in path]


def test_a_folder_is_written_once_and_read_back(hub):
    _, told = hub
    assert told["saved"] == ["README.md", "model.jpg", "model.safetensors"]
    assert told["read back"] == NAMES
    assert "exists: name another folder" in told["taken"]


def test_painting_does_not_load_huggingface_hub_or_onnx(folder, tmp_path):
    code = (
        "import sys\n"
        "from fst.cli.infer import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('huggingface_hub', 'onnx')])"
    )
    argv = [folder / "photo.png", "--model", folder / "mine.safetensors", "-o", tmp_path / "p.png"]
    command = [sys.executable, "-c", code, *map(str, argv)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_without_the_extra_its_name_is_told():
    code = "import sys; sys.modules['huggingface_hub'] = None; import fst.stylize.hub"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'fst[hub]'" in done.stderr
