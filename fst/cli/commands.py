"""The commands by name, and what all of them have: `--version`, completion in the shell, and which
style model they take.

Every file of a command line imports only the standard library at its top, so that `--help` and a
mistyped flag are answered at once; torch follows when the arguments are known to be well formed.
"""

import argparse
import os
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import fst
from fst.assets import GALLERY
from fst.errors import FstError, near_matches
from fst.runtime.console import tell
from fst.style_model.names import SHIPPED, model_path, style_names_in

if TYPE_CHECKING:
    from fst.stylize.stylizer import Stylizer

# Name to what it is for: each a module fst.cli.NAME, a program fst-NAME and `fst NAME`.
COMMANDS = {
    "train": "train one network to paint in many styles",
    "infer": "paint pictures with a trained style model",
    "styles": "list, extract, merge, remove, rename and import styles",
    "gatys": "optimise the pixels of one picture",
    "gram": "report what the Gram matrices of style pictures say",
    "export": "write a style model as ONNX, for torch.export, or its card",
    "demo": "paint on a web page in the browser",
}
# argcomplete sets it in the program whose arguments it is asked to complete.
COMPLETING = "_ARGCOMPLETE"


def new_parser(
    prog: str, description: str, end: str | None = None, **options: Any
) -> argparse.ArgumentParser:
    """The parser of a command, as all of them have it; `finish` it when its flags are there."""
    shape = partial(argparse.RawDescriptionHelpFormatter, max_help_position=36, width=100)
    return argparse.ArgumentParser(
        prog,
        description=description,
        epilog=end,
        formatter_class=shape,
        allow_abbrev=False,
        **options,
    )


def finish(parser: argparse.ArgumentParser, shown: bool = True) -> argparse.ArgumentParser:
    """Add `--version`, in the help if `shown`, and near matches for mistyped flags; answer what
    could come next and exit, where a shell asks."""
    parser.add_argument("--version", action="version", version=f"{parser.prog} {fst.__version__}",
        help="show the version and exit" if shown else argparse.SUPPRESS)  # fmt: skip
    parser.error = partial(_error, parser, parser.error)  # type: ignore[method-assign]
    if COMPLETING in os.environ:
        import argcomplete

        completers = {"--style": _styles, "--style-id": _ids, "--blend-grid": _styles}
        for action in parser._actions if parser.prog == "fst-infer" else ():
            for flag in completers.keys() & action.option_strings:
                action.completer = completers[flag]  # argcomplete's way: an attribute
        argcomplete.autocomplete(parser)
    return parser


def _error(parser: argparse.ArgumentParser, end: Callable[[str], NoReturn], text: str) -> NoReturn:
    """argparse's `error`, with the flags that come near one it does not know."""
    if text.startswith("unrecognized arguments"):
        hints = [near_flags(word, flags_of(parser)) for word in text.split()]
        text = "; ".join([text, *filter(None, hints)])
    end(text)


def flags_of(parser: argparse.ArgumentParser) -> list[str]:
    """The long flags of a parser, and of the commands below it."""
    flags: list[str] = []
    for action in parser._actions:
        flags += [flag for flag in action.option_strings if flag.startswith("--")]
        for below in action.choices.values() if isinstance(action.choices, dict) else ():
            flags += flags_of(below)
    return flags


def near_flags(word: str, flags: list[str]) -> str:
    """The flags that come near a word, as the end of a message; "" where none does, or it is none.

    Examples:
        >>> near_flags("--styel=wave", ["--style", "--size"])
        'did you mean --style?'
    """
    if not word.startswith("--"):
        return ""
    prefix = "--trainer." if word.startswith("--trainer.") else "--"
    # What all of them have in common would make any of them alike.
    known = [flag.removeprefix(prefix) for flag in flags if flag.startswith(prefix)]
    near = near_matches(word.partition("=")[0].removeprefix(prefix), known)
    return re.sub(r"(?<=mean )|(?<= or )", prefix, near)


def _ids(parsed_args: argparse.Namespace, **_: Any) -> dict[str, str]:
    return {str(place): name for place, name in enumerate(_styles(parsed_args))}


def _styles(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """The styles of the model that fst-infer would take; none where that cannot be told."""
    model = parsed_args.model or newest_model()
    try:
        return style_names_in(model_path(model))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # half-typed, or foreign
        return []


# ---- the style model ----------------------------------------------------------------------------


def open_model(
    model: str | None, device: str, precision: str, wanted: list, program: str = "fst-infer"
) -> "Stylizer":
    """The model named, the shipped one as "gallery"; else the newest that has all styles wanted.

    Those wanted by name alone: an id means a style of the newest.
    """
    from fst.runtime.memory import keep_freed_memory
    from fst.stylize.stylizer import Stylizer

    keep_freed_memory()
    if model is not None:
        return Stylizer(model, device, precision)
    newest = chosen = None
    wanted = [style for style in wanted if isinstance(style, str)]
    for path in [*newest_models(Path("checkpoints")), *[GALLERY] * GALLERY.is_file()]:
        try:
            stylizer = Stylizer(path, device, precision)
        except FstError as problem:
            tell(program, f"skipped {problem}")
            continue
        newest = newest or stylizer
        with suppress(FstError):  # it has not all of them
            for style in wanted:
                stylizer.style_id(style)
            chosen = stylizer
            break
    if newest is None:
        raise FstError("no style model below checkpoints; train one with fst-train or give --model")
    if chosen not in (None, newest):
        lacking = [style for style in wanted if style not in newest.style_names]
        tell(program, f"{shown_name(newest.path)} has no style {' or '.join(lacking)}")
    chosen = chosen or newest  # whose lack of the style is told with what it has
    tell(program, f"model {shown_name(chosen.path)}")
    return chosen


def shown_name(path: Path) -> str:
    """A model as it is told, and can be given: the shipped one is "gallery"."""
    return SHIPPED if path == GALLERY else str(path)


def newest_model() -> Path:
    """The model that is taken where none is named."""
    return next(iter(newest_models(Path("checkpoints"))), GALLERY)


def newest_models(folder: Path) -> list[Path]:
    """Style models below a folder, the newest first."""
    files = [
        Path(parent, name)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.endswith(".safetensors")
        and not name.endswith(".style.safetensors")
        and os.path.isfile(os.path.join(parent, name))
    ]
    return sorted(files, key=lambda file: (os.path.getmtime(file), file), reverse=True)
