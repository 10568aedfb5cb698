"""fst-export --web: a folder whose page paints in a browser what fst paints, with no other host."""

import base64
import functools
import io
import json
import os
import re
import subprocess
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from conftest import smooth_field
from infer_inputs import save_model
from PIL import Image

from fst import Stylizer
from fst.cli.export import main
from fst.export.web import PACKAGE, PAGE, RUNTIME
from fst.io import images

pytest.importorskip("onnxruntime")
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
WAIT_MS = 120_000


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_model(tmp_path_factory.mktemp("web") / "model.safetensors"))


@pytest.fixture
def stand_in(tmp_path):
    """A folder with files named as the runtime's."""
    (tmp_path / "package" / "dist").mkdir(parents=True)
    for source in RUNTIME.values():
        (tmp_path / "package" / "dist" / source).write_text(f"of {source}")
    return tmp_path / "package"


# ---- the folder ---------------------------------------------------------------------------------


def test_a_folder_has_all_that_the_page_asks_for(model, stand_in, tmp_path, capsys):
    site = tmp_path / "site"
    argv = [model, "--web", str(site), "--runtime", str(stand_in)]
    assert main([*argv, "--license", "cc-by-4.0"]) == 0
    assert capsys.readouterr().out.strip() == str(site / "index.html")
    names = {"model.onnx", "styles.json", "tiles.jpg", "sample.jpg", *PAGE, *RUNTIME}
    assert {path.name for path in site.iterdir()} == names
    for target, source in RUNTIME.items():
        assert (site / target).read_text() == f"of {source}"
    about = json.loads((site / "styles.json").read_text())
    assert about["names"] == Stylizer(model).style_names
    assert about["license"] == "cc-by-4.0"
    tiles = Image.open(site / "tiles.jpg")
    assert tiles.size == (about["tile_px"], about["tile_px"] * len(about["names"]))
    assert main(argv) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main([*argv, "--overwrite"]) == 0


def fake_npm(folder, script):
    (folder / "bin").mkdir()
    (folder / "bin" / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bin" / "npm").chmod(0o755)
    return f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"


def test_npm_is_asked_for_the_runtime(model, stand_in, tmp_path, monkeypatch):
    with tarfile.open(tmp_path / "p.tgz", "w:gz") as archive:
        archive.add(stand_in, "package")
    script = f'echo "$@" > {tmp_path}/asked; cp {tmp_path}/p.tgz onnxruntime-web.tgz'
    monkeypatch.setenv("PATH", fake_npm(tmp_path, script))
    assert main([model, "--web", str(tmp_path / "site")]) == 0
    assert PACKAGE in (tmp_path / "asked").read_text()
    for target, source in RUNTIME.items():
        assert (tmp_path / "site" / target).read_text() == f"of {source}"


@pytest.mark.parametrize(
    ("script", "told"),
    [("echo ENOTFOUND >&2; exit 1", "cannot fetch .*ENOTFOUND"), ("echo > x.tgz", "is not")],
)
def test_an_npm_that_fails_is_told(model, tmp_path, monkeypatch, capsys, script, told):
    monkeypatch.setenv("PATH", fake_npm(tmp_path, script))
    assert main([model, "--web", str(tmp_path / "site")]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.search(f"{told}.*--runtime", error)
    assert not (tmp_path / "site").exists()


def test_what_does_not_fit_is_told_before_the_work(model, stand_in, tmp_path, monkeypatch, capsys):
    site = str(tmp_path / "site")
    for argv, told in [
        (["--runtime", str(stand_in)], "goes with --web"),
        (["--web", site, "-o", "x.onnx"], "leave out -o"),
        (["--web", site, "--runtime", str(tmp_path)], "ort.wasm.bundle.min.mjs is not there"),
    ]:
        assert main([model, *argv]) == 2
        assert told in capsys.readouterr().err
    monkeypatch.setenv("PATH", "")
    assert main([model, "--web", site]) == 2
    assert "install that" in capsys.readouterr().err
    assert not os.path.exists(site)


# ---- the page -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(load_script):
    sync_api = pytest.importorskip("playwright.sync_api")
    script = load_script("screenshot_demo")
    path = script.find_browser()
    if path is None:
        pytest.skip("no Chromium here")
    cameras = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*script.FLAGS, *cameras])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(browser, model, tmp_path_factory):
    """The page behind a web server, with the runtime as npm has it."""
    folder = tmp_path_factory.mktemp("page")
    try:
        subprocess.run(["npm", "pack", PACKAGE], cwd=folder, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"npm cannot fetch {PACKAGE} here")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        archive.extractall(folder, filter="data")
    assert main([model, "--web", str(folder / "site"), "--runtime", str(folder / "package")]) == 0
    handler = functools.partial(SimpleHTTPRequestHandler, directory=folder / "site")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class Visitor:
    """One window on the page, its sample painted."""

    def __init__(self, browser, address, viewport=DESKTOP):
        self.requests, self.errors = [], []
        self.page = browser.new_context(viewport=viewport).new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address + "index.html")
        self.wait()

    def wait(self, text="painted in"):
        from playwright.sync_api import expect

        expect(self.page.locator("#status")).to_contain_text(text, timeout=WAIT_MS)
        return self.page.locator("#status").inner_text()

    def painting(self):
        self.wait()
        url = self.page.evaluate("document.getElementById('painting').toDataURL()")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))), np.int16)


@pytest.fixture
def visitor(browser, address):
    visitor = Visitor(browser, address)
    yield visitor
    visitor.page.context.close()
    assert visitor.errors == []
    assert all(url.startswith((address, "blob:", "data:")) for url in visitor.requests)


def levels(painting):
    return np.asarray(images.to_picture(painting), np.int16)


def test_the_page_paints_styles_and_blends_as_fst_does(visitor, model, tmp_path):
    smooth_field(3, 83, 110).save(tmp_path / "photo.png")
    visitor.page.set_input_files("#file", tmp_path / "photo.png")
    visitor.wait("110x83 px")
    stylizer = Stylizer(model)
    first, second = stylizer.style_names[:2]

    def check(style):
        expected = levels(stylizer.stylize(tmp_path / "photo.png", style))
        assert np.abs(visitor.painting()[..., :3] - expected).max() <= 2
        return expected

    one = check(first)
    visitor.page.get_by_role("button", name=second, exact=True).click()
    two = check(second)
    assert np.abs(one - two).max() > 20  # or the check could not fail
    visitor.page.get_by_label(f"blend in {first}").click()
    check({first: 1, second: 1})
    visitor.page.get_by_role("slider", name=first).fill("25")
    check({first: 1, second: 2})
    visitor.page.get_by_label(f"take out {second}").click()
    check(first)


def test_a_large_photo_is_shrunk_to_the_size_asked_for(visitor, tmp_path):
    smooth_field(4, 600, 400).save(tmp_path / "large.jpg")
    visitor.page.select_option("#size", "192")
    visitor.page.set_input_files("#file", tmp_path / "large.jpg")
    visitor.wait("192x288 px")


def test_the_camera_is_painted_until_it_is_stopped(visitor):
    page = visitor.page
    page.select_option("#size", "192")
    page.click("#camera[aria-pressed=false]")
    visitor.wait("256x192")  # of 640x480
    before, frames = visitor.painting(), 0
    while np.array_equal(visitor.painting(), before):  # the camera's picture moves
        assert (frames := frames + 1) < 50
        page.wait_for_timeout(100)
    page.click("#camera[aria-pressed=true]")
    page.locator("#camera[aria-pressed=false]").wait_for()
    assert page.evaluate("document.getElementById('video').srcObject.active") is False


def test_the_painting_is_saved(visitor, model):
    with visitor.page.expect_download() as download:
        visitor.page.click("#save")
    assert download.value.suggested_filename == f"{Stylizer(model).style_names[0]}.png"
    saved = np.asarray(Image.open(download.value.path()), np.int16)
    assert np.array_equal(saved, visitor.painting())


def test_a_file_that_is_no_picture_is_told(visitor, tmp_path):
    (tmp_path / "x.jpg").write_text("no picture")
    visitor.page.set_input_files("#file", tmp_path / "x.jpg")
    visitor.wait("cannot read that file")


def test_a_phone_need_not_scroll_sideways(browser, address):
    visitor = Visitor(browser, address, PHONE)
    width = visitor.page.evaluate("document.documentElement.scrollWidth")
    visitor.page.context.close()
    assert width == PHONE["width"]
