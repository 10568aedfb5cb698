"""The order of the rooms of fst: imports lead down or stay, those inside functions too."""

import ast
from pathlib import Path

import fst

PACKAGE = Path(fst.__file__).parent
# From the ground up: a room imports itself and those before it.
ORDER = (
    "errors",
    "assets",
    "io",
    "runtime",
    "networks",
    "losses",
    "style_model",
    "data",
    "metrics",
    "training",
    "stylize",
    "gatys",
    "gramlab",
    "export",
    "demo",
    "cli",
    "__main__",
)
# (file, room): why it asks a room above its own.
EXCEPTIONS: dict[tuple[str, str], str] = {}


def room_of(path):
    """The first part of a module's place below fst."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def is_for_types(node):
    """Whether a statement is `if TYPE_CHECKING:`, which never runs."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imported(tree):
    """Names of modules, or of things in them, that a piece of code imports, wherever in it."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "fst imports by full names"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif is_for_types(node):
            waiting += node.orelse
        elif not isinstance(node, ast.expr):  # in which nothing is imported
            waiting += ast.iter_child_nodes(node)


def rooms_asked(path):
    """The rooms that a file imports from; the version in `fst` itself is in none."""
    names = imported(ast.parse(path.read_text("utf-8")))
    parts = (name.split(".") for name in names)
    rooms = {part[1] for part in parts if part[0] == "fst" and len(part) > 1}
    return rooms - {"__version__"}


def test_every_file_is_in_a_room_of_the_order():
    rooms = {room_of(path) for path in PACKAGE.rglob("*.py")}
    assert rooms - {"__init__"} == set(ORDER)


def test_no_import_leads_up():
    upward = {
        (path.relative_to(PACKAGE).as_posix(), room)
        for path in PACKAGE.rglob("*.py")
        if room_of(path) != "__init__"  # its names are imported when they are asked for
        for room in rooms_asked(path)
        if ORDER.index(room) > ORDER.index(room_of(path))
    }
    assert upward == set(EXCEPTIONS)


def test_imports_in_functions_count_and_those_for_types_do_not():
    code = "def f():\n    from fst.cli import infer\nif TYPE_CHECKING:\n    import fst.demo\n"
    assert list(imported(ast.parse(code))) == ["fst.cli.infer"]
