"""Time the page of `fst-export --web` in headless Chromium, and take the picture of docs/export.md.

python scripts/screenshot_web.py -o docs/pictures

Needs Chromium, npm and the extras `export` and `test`. Prints the folder's size and a table in
Markdown: seconds until the sample photo is painted, then those of a painting by its size.
"""

import argparse
import functools
import io
import re
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmark import describe_machine
from evaluate import positive
from PIL import Image
from screenshot_demo import FLAGS, WAIT_MS, find_browser

from fst.cli import export
from fst.export.web import RUNTIME
from fst.io import images

CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
PHONE = {"viewport": {"width": 390, "height": 1020}}
SIZES = ("192", "256", "384", "512")  # of the shorter side, as on the page
STYLES = ("wave", "starry_night")
DONE = re.compile(r"(\d+x\d+) px, painted in ([\d.]+) s")


class Plain(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Isolated(Plain):
    """With the headers that let a browser use several threads."""

    def end_headers(self) -> None:
        """Add what isolates the page from others."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()


CASES = {"one thread": Plain, "several threads": Isolated}


def main() -> None:
    """Export, serve, paint, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--repeats", type=positive, default=5, help="paintings of each size (5)")
    add("-o", "--output", type=Path, default=Path("docs/pictures"), help="folder of the picture")
    args = parser.parse_args()
    browser = find_browser()
    if browser is None:
        sys.exit("screenshot_web: needs Chromium")
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as site, sync_playwright() as playwright:
        if export.main(["gallery", "--web", site]):
            sys.exit(1)
        mb = {path.name: path.stat().st_size / 1e6 for path in Path(site).iterdir()}
        runtime = sum(mb[name] for name in RUNTIME)
        print(describe_machine()["processor"])
        print(f"{sum(mb.values()):.1f} MB, of which the runtime is {runtime:.1f}\n")
        chromium = playwright.chromium.launch(executable_path=browser, args=[*FLAGS, *CAMERA])
        for case, handler in CASES.items():
            with served(site, handler) as address:
                page = chromium.new_context(**PHONE).new_page()
                page.goto(address)
                found = measured(page, args.repeats)
                if handler is Plain:
                    print("| |", " | ".join(found), "|\n| --- |", "---: |" * len(found))
                cells = " | ".join(f"{seconds:.2f} s" for seconds in found.values())
                print(f"| {case} | {cells} |")
                if handler is Isolated:
                    save_picture(page, args.output / "web_phone.jpg")


@contextmanager
def served(folder: str, handler: type[Plain]) -> Iterator[str]:
    """The address of a web server for `folder`."""
    serve = functools.partial(handler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/index.html"
        finally:
            server.shutdown()


def measured(page, repeats: int) -> dict[str, float]:
    """Seconds until the first painting, and medians at each size and of the camera's pictures."""
    painted(page)
    found = {"first": page.evaluate("performance.now()") / 1000}
    for size in SIZES:
        page.select_option("#size", size)
        shown, _ = painted(page)
        found[f"{shown} px"] = statistics.median(painted_again(page) for _ in range(repeats))
    page.select_option("#size", SIZES[0])
    page.click("#camera")
    page.locator("#status", has_text="256x192").wait_for()
    found["camera, 256x192 px"] = statistics.median(next_frame(page) for _ in range(repeats))
    page.click("#camera")
    return found


def painted_again(page) -> float:
    """Seconds of another painting of the same photo."""
    page.evaluate("document.getElementById('size').onchange()")  # as if another size were chosen
    return painted(page)[1]


def next_frame(page) -> float:
    """Seconds of a picture of the camera."""
    page.evaluate("document.getElementById('status').textContent = ''")
    return painted(page)[1]


def painted(page) -> tuple[str, float]:
    """What the page says once a painting is there: its size and seconds."""
    status = page.locator("#status").filter(has_text=DONE)
    status.wait_for(timeout=WAIT_MS)
    size, seconds = DONE.search(status.inner_text()).groups()
    return size, float(seconds)


def save_picture(page, path: Path) -> None:
    """The page with the sample photo in a blend of two styles."""
    page.reload()
    painted(page)
    page.get_by_role("button", name=STYLES[0], exact=True).click()
    page.get_by_label(f"blend in {STYLES[1]}").click()
    page.wait_for_timeout(500)  # until the second style has begun
    painted(page)
    shot = Image.open(io.BytesIO(page.screenshot()))
    path = images.save(images.to_tensor(shot), path, overwrite=True, quality=80)
    print(path, f"{path.stat().st_size // 1000} KB")


if __name__ == "__main__":
    main()
