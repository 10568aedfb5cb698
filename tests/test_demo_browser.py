"""The page of fst-demo in a headless browser: what is seen, and what comes down the wire."""

import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from infer_inputs import save_model
from PIL import Image

from fst.assets import SAMPLE_PHOTO
from fst.cli import infer

pytest.importorskip("gradio")
sync_api = pytest.importorskip("playwright.sync_api")
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
WAIT_MS = 60_000
sync_api.expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("demo") / "model.safetensors")


@pytest.fixture(scope="module")
def browser(load_script):
    script = load_script("screenshot_demo")
    path = script.find_browser()
    if path is None:
        pytest.skip("no Chromium here")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=script.FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(browser, model, tmp_path_factory):
    """A running fst-demo; when it is told to end, it ends well and leaves no file."""
    temporary = tmp_path_factory.mktemp("tmp")
    server = subprocess.Popen(
        [sys.executable, "-m", "fst.cli.demo", "--model", str(model), "--device", "cpu",
         "--max-upload", "200K", "--max-megapixels", "1", "--size", "96"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    try:
        yield server.stdout.readline().strip()
        assert any(temporary.iterdir())  # it did keep its files there
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
        assert not [path for path in temporary.iterdir() if path.name.startswith("fst-demo")]
    finally:
        server.kill()


class Visitor:
    """One window on the page."""

    def __init__(self, browser, address, viewport=DESKTOP):
        self.requests, self.errors = [], []
        self.context = browser.new_context(viewport=viewport)
        self.page = self.context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)
        self.wait_for_command("--style")

    @property
    def command(self):
        return self.page.locator("#command textarea").input_value()

    def wait_for_command(self, text):
        """Wait for a command with this text and no further digit: 0.65 is not 0.6."""
        box = self.page.locator("#command textarea")
        sync_api.expect(box).to_have_value(re.compile(re.escape(text) + r"(?![.\d])"))

    def upload(self, path):
        self.page.locator("#upload input[type=file]").set_input_files(path)

    def preview(self):
        """The painting that is shown, (h, w, 3)."""
        source = self.page.locator("#slider img").last.get_attribute("src")
        return pixels(self.context.request.get(source).body())

    def wait_for_preview(self, expected):
        """Wait for this painting: those of the slider's earlier places may come before it."""
        ends = time.monotonic() + WAIT_MS / 1000
        while not np.array_equal(self.preview(), expected):
            assert time.monotonic() < ends, "another painting is shown"
            self.page.wait_for_timeout(100)

    def painted(self):
        """The file at full size, once it has been asked for: its name and bytes."""
        link = self.page.locator("#download")
        link.wait_for(state="visible")
        with self.page.expect_download() as waiting:
            link.click()
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


@pytest.fixture
def visit(browser, address):
    visitors = []

    def open_page(**options):
        visitors.append(Visitor(browser, address, **options))
        return visitors[-1]

    yield open_page
    for visitor in visitors:
        visitor.context.close()


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def by_command(command, folder, *more):
    """What fst-infer writes when the command is given in the folder: name and bytes."""
    before, here = set(folder.iterdir()), Path.cwd()
    os.chdir(folder)
    try:
        assert infer.main([*shlex.split(command)[1:], *more]) == 0
    finally:
        os.chdir(here)
    (written,) = set(folder.iterdir()) - before
    return written.name, written.read_bytes()


def photo_at(path, seed=0, size=(150, 120)):
    levels = np.random.default_rng(seed).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_page_loads_without_other_hosts_and_fits_its_window(visit, address, viewport):
    visitor = visit(viewport=viewport)
    sync_api.expect(visitor.page.locator("#styles label")).to_have_count(3)
    wide = visitor.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= viewport["width"]
    away = [url for url in visitor.requests if not url.startswith((address, "data:", "blob:"))]
    assert away == [] and visitor.errors == []


def test_a_moved_slider_paints_what_the_command_paints(visit, tmp_path):
    visitor = visit()
    visitor.page.locator("#strength input[type=range]").focus()
    for _ in range(8):
        visitor.page.keyboard.press("ArrowLeft")
    visitor.wait_for_command("--strength 0.6")
    _, small = by_command(visitor.command, tmp_path, "--size", "96", "-o", "small.png")
    visitor.page.wait_for_function("document.querySelectorAll('#slider img').length > 1")
    visitor.wait_for_preview(pixels(small))
    visitor.page.click("#paint")
    name, painting = visitor.painted()
    assert (name, painting) == by_command(visitor.command, tmp_path)
    assert pixels(painting).shape == pixels(SAMPLE_PHOTO.read_bytes()).shape


def test_a_broken_file_is_told_on_the_page_and_the_photo_stays(visit, tmp_path):
    visitor = visit()
    said = visitor.page.locator("#photo-problem")
    whole = photo_at(tmp_path / "whole.jpg").read_bytes()
    for name, data, expected in (
        ("cut.jpg", whole[: len(whole) // 2], "cut.jpg: truncated"),
        ("page.png", b"<html>not a picture</html>", "page.png: it is a web page"),
    ):
        (tmp_path / name).write_bytes(data)
        visitor.upload(tmp_path / name)
        sync_api.expect(said).to_contain_text(expected)
        assert "The photo before it stays" in said.inner_text()
        assert "Traceback" not in said.inner_text() and "/" not in said.inner_text()
    assert visitor.command.startswith("fst-infer --model")
    visitor.upload(photo_at(tmp_path / "large.jpg", size=(1200, 1000)))
    sync_api.expect(said).to_contain_text("1200x1000 px, 1.2 megapixels")
    visitor.upload(tmp_path / "whole.jpg")
    visitor.wait_for_command("fst-infer whole.jpg")
    sync_api.expect(said).to_be_hidden()


def test_a_file_of_too_many_bytes_is_refused_with_the_limit(visit, tmp_path):
    visitor = visit()
    heavy = bytes(400_000)
    (tmp_path / "heavy.png").write_bytes(heavy)
    visitor.upload(tmp_path / "heavy.png")
    said = visitor.page.locator("#photo-problem")
    sync_api.expect(said).to_contain_text(
        "heavy.png: 0.381 MiB are more than this page takes (0.195 "
    )
    address = f"{visitor.page.url.rstrip('/')}/gradio_api/upload"
    answer = visitor.context.request.post(
        address, multipart={"files": {"name": "h", "mimeType": "image/png", "buffer": heavy}}
    )
    assert answer.status == 413 and "0.195 MiB" in answer.text()


def test_brushed_masks_and_a_blend_give_what_the_command_gives(visit, tmp_path):
    visitor = visit(viewport=PHONE)
    photo = photo_at(tmp_path / "my photo (1).png")
    visitor.upload(photo)
    visitor.wait_for_command("'my photo (1).png'")
    visitor.page.locator("#styles label").nth(1).click()
    visitor.wait_for_command("--style wave=0.5 rain=0.5")
    visitor.page.locator("#share2 input[type=range]").focus()
    visitor.page.keyboard.press("ArrowRight")
    visitor.wait_for_command("rain=0.55")
    visitor.page.locator("#part button").first.click()
    canvas = visitor.page.locator("#brush canvas")
    canvas.evaluate("canvas => canvas.scrollIntoView({block: 'end'})")  # the painting is on top
    for tool, row in (("other", 0.3), ("where", 0.4)):
        visitor.page.click(f"#brush [data-tool={tool}]")
        box = canvas.bounding_box()
        visitor.page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + row * box["height"])
        visitor.page.mouse.down()
        end = box["x"] + 0.8 * box["width"], box["y"] + 0.6 * box["height"]
        visitor.page.mouse.move(*end, steps=4)
        visitor.page.mouse.up()
    visitor.wait_for_command("_paint_mask.png")
    links = visitor.page.locator("#mask-files a[download]")
    sync_api.expect(links).to_have_count(2)
    for link in links.all():
        data = visitor.context.request.get(link.get_attribute("href")).body()
        (tmp_path / link.get_attribute("download")).write_bytes(data)
    visitor.page.click("#paint")
    assert visitor.painted() == by_command(visitor.command, tmp_path)


def test_two_visitors_get_their_own_pictures(visit, tmp_path):
    both = [visit(), visit()]
    for number, visitor in enumerate(both):
        visitor.upload(photo_at(tmp_path / f"photo{number}.png", number, (220, 180)))
    for number, visitor in enumerate(both):
        visitor.page.locator("#styles label").nth(number + 1).click()
    for number, visitor in enumerate(both):
        visitor.wait_for_command(f"photo{number}.png")
        visitor.wait_for_command("=0.5")
        visitor.page.click("#paint")  # of both, before either is waited for
    paintings = [visitor.painted() for visitor in both]
    assert paintings == [by_command(visitor.command, tmp_path) for visitor in both]
