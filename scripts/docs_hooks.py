"""What MkDocs is asked to do beside rendering `docs/` (see `hooks` in mkdocs.yml).

The pages are read on two sites: as files of the repository and as this site. So links are those of
the repository, and are turned here; pages that lie elsewhere in it are taken in; formulas
become MathML, which needs no script; the help of every command is asked for when the site is built.
"""

import json
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path, PurePosixPath

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# What the site takes in from elsewhere: path in the repository to path in the site's sources.
TAKEN_IN = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "checkpoints/README.md": "runs.md",
    "datasets/README.md": "data_sets.md",
    "datasets/samples/painted.jpg": "pictures/painted.jpg",
    "docs/notebooks/tour.ipynb": "notebooks/tour.md",
}
# The README is the entry of the repository as the first page is of the site.
TURNED = {**TAKEN_IN, "README.md": "index.md"}
SOURCES = {site: repository for repository, site in TAKEN_IN.items()}
_LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\]\()([^)\s]+)(\))")
_CODE = re.compile(r"^(```|~~~).*?^\1$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_HELP = re.compile(r"^<!-- help: (fst(?:-\w+)?(?: \w+)?) -->$", re.MULTILINE)
_FORMULA = re.compile(
    r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL
)  # as pymdownx.arithmatex leaves them

_TAG = re.compile(r"<(?:script|link|img|iframe|source|video)\b[^>]*>")
_OUTSIDE = re.compile(r"""(?:src|srcset|href)=["']?(?:https?:)?//""")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take in pages and pictures from other folders of the repository."""
    for repository, site in TAKEN_IN.items():
        path = ROOT / repository
        content = notebook_page(path) if path.suffix == ".ipynb" else path.read_bytes()
        files.append(File.generated(config, site, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links, and put the help of commands in its place."""
    source = page.file.src_uri
    repository = PurePosixPath(SOURCES.get(source, f"docs/{source}"))
    code = [match.span() for match in _CODE.finditer(markdown)]

    def turned(match: re.Match) -> str:
        if any(start <= match.start() < end for start, end in code):
            return match[0]
        return f"{match[1]}{turn(match[2], repository, source)}{match[3]}"

    markdown = _LINK.sub(turned, markdown)
    return _HELP.sub(lambda match: f"```text\n{help_of(match[1])}\n```", markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Write formulas as MathML."""
    return _FORMULA.sub(lambda match: mathml(match[2], match[1] == "div", page), html)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that would ask other servers for anything."""
    for file in Path(config.site_dir).rglob("*.html"):
        for tag in _TAG.findall(file.read_text()):
            if _OUTSIDE.search(tag):
                raise PluginError(f"{file}: asks another server: {tag[:200]}")


def turn(target: str, repository: PurePosixPath, source: str) -> str:
    """A link of a file of the repository as one of a page of the site.

    Args:
        target: The link, relative to the file.
        repository: The file's path in the repository.
        source: The page's path in the site's sources.
    """
    if re.match(r"[a-z]+:|#", target):
        return target
    path, hash_sign, anchor = target.partition("#")
    wanted = os.path.normpath(repository.parent / path)
    site = TURNED.get(wanted, wanted.removeprefix("docs/") if wanted[:5] == "docs/" else None)
    if site is None:  # MkDocs says that it is not there
        return target
    return os.path.relpath(site, PurePosixPath(source).parent) + hash_sign + anchor


def help_of(command: str) -> str:
    """What `command --help` prints, 96 columns wide."""
    program, _, below = command.partition(" ")
    module = "fst" if program == "fst" else f"fst.cli.{program.removeprefix('fst-')}"
    search = os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    done = subprocess.run(
        [sys.executable, "-m", module, *([below] if below else []), "--help"],
        capture_output=True, text=True, env={**os.environ, "COLUMNS": "96", "PYTHONPATH": search},
    )  # fmt: skip
    if done.returncode:
        raise PluginError(f"{command} --help: {done.stderr}")
    return done.stdout.rstrip()


def mathml(latex: str, block: bool, page: Page) -> str:
    """A formula as MathML."""
    try:
        made = convert(unescape(latex), display="block" if block else "inline")
    except Exception as error:
        raise PluginError(f"{page.file.src_uri}: formula {latex!r}: {error!r}") from error
    # The bars of norms come as fences that stretch where they open and not where they close.
    made = made.replace("<mo>&#x02016;</mo>", '<mo stretchy="false" lspace="0" rspace="0">‖</mo>')
    return f'<div class="formula">{made}</div>' if block else made


def notebook_page(path: Path) -> str:
    """The cells of a notebook as a page."""
    parts = []
    for cell in json.loads(path.read_bytes())["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    name = path.name
    note = f"*This page is the notebook `docs/notebooks/{name}`, which a test runs.*"
    return "\n\n".join([parts[0], note, *parts[1:]])
