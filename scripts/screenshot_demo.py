"""Make the pictures of docs/demo.md: the page of fst-demo in headless Chromium.

python scripts/screenshot_demo.py -o docs/pictures

Needs the extras `demo` and `test`, and Chromium on the machine.
"""

import argparse
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

from fst.io import images

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHOTO = Path("datasets/samples/content/portrait.jpg")
STYLES = ("wave", "starry_night")
WAIT_MS = 120_000
SHOTS = {
    "demo_desktop": {"viewport": {"width": 1280, "height": 900}},
    "demo_phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 1.5,
                   "is_mobile": True, "has_touch": True},
}  # fmt: skip


def main() -> None:
    """Start the page, look at it at both widths, and write what is seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", default="gallery", help="style model (gallery)")
    add("--quality", type=int, default=76, help="of the JPEG files (76)")
    add("-o", "--output", type=Path, default=Path("docs/pictures"), help="folder")
    args = parser.parse_args()
    browser = find_browser()
    if browser is None:
        sys.exit(f"screenshot_demo: needs one of {', '.join(BROWSERS)}")
    command = [sys.executable, "-m", "fst.cli.demo", "--model", args.model]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            shots = look_at(server.stdout.readline().strip(), browser)
        finally:
            server.terminate()
    for name, shot in shots.items():
        path = images.save(
            images.to_tensor(Image.open(io.BytesIO(shot))),
            args.output / f"{name}.jpg",
            overwrite=True,
            quality=args.quality,
        )
        print(path, f"{path.stat().st_size // 1000} KB")


def find_browser() -> str | None:
    """The first of `BROWSERS` that is installed."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def look_at(address: str, browser: str) -> dict[str, bytes]:
    """PNG pictures of the page by name."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=FLAGS)
        return {name: screenshot(chromium, address, options) for name, options in SHOTS.items()}


def screenshot(chromium, address: str, options: dict) -> bytes:
    """The page with a photo and two styles, once it is painted and all thumbnails are there."""
    from playwright.sync_api import expect

    page = chromium.new_context(**options).new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(address)
    command = page.locator("#command textarea")
    expect(command).to_have_value(re.compile("--style"), timeout=WAIT_MS)
    page.locator("#upload input[type=file]").set_input_files(PHOTO)
    expect(command).to_have_value(re.compile(PHOTO.name), timeout=WAIT_MS)
    for style in (*STYLES, "the_scream"):  # the last is chosen when the page opens
        page.click(f"#styles label:has(input[name={style}])")
        page.wait_for_timeout(3000)
    expect(command).to_have_value(re.compile("--style wave=0.5 starry_night=0.5"))
    page.wait_for_function(
        "(document.querySelector('#thumbnails style')?.textContent.match(/url[(]/g) || []).length"
        " == document.querySelectorAll('#styles label').length"
    )
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.wait_for_timeout(1000)
    return page.screenshot()


if __name__ == "__main__":
    main()
