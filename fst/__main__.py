"""`python -m fst COMMAND ...`, or `fst COMMAND ...`: the same as `fst-COMMAND ...`.

`fst completion SHELL` prints what makes a shell complete the commands' arguments.
"""

import runpy
import sys

import fst
from fst.cli.commands import COMMANDS
from fst.errors import near_matches

SHELLS = ("bash", "zsh", "fish", "powershell")


def main(argv: list[str] | None = None) -> int:
    """Run a command in this process; returns the exit code of what is answered here."""
    given = sys.argv[1:] if argv is None else argv
    name, rest = (given[0], given[1:]) if given else ("--help", [])
    if name in ("-h", "--help"):
        print(usage())
    elif name == "--version":
        print(f"fst {fst.__version__}")
    elif name == "completion":
        return completion(rest)
    elif name in COMMANDS:
        # As `python -m fst.cli.NAME`: Lightning starts further processes the way this one was.
        sys.argv[1:] = rest
        runpy.run_module(f"fst.cli.{name}", run_name="__main__", alter_sys=True)
    else:
        hint = " ".join([near_matches(name, COMMANDS), "choose among", ", ".join(COMMANDS)])
        print(f"fst: no command {name!r}: {hint.strip()}", file=sys.stderr)
        return 2
    return 0


def usage() -> str:
    """The commands, a line each."""
    wide = max(map(len, COMMANDS))
    lines = [f"  {name:{wide}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join([
        "usage: fst COMMAND [arguments]      (or python -m fst COMMAND, or fst-COMMAND)", "",
        *lines, "",
        "fst COMMAND --help shows the arguments of one, fst --version the version.",
        f"fst completion {'|'.join(SHELLS)} prints the completion code for your shell:", "",
        '  eval "$(fst completion bash)"       in ~/.bashrc; zsh likewise',
        "  fst completion fish | source        in ~/.config/fish/config.fish",
    ])  # fmt: skip


def completion(rest: list[str]) -> int:
    """Print the completion of a shell."""
    if len(rest) != 1 or rest[0] not in SHELLS:
        print(f"fst completion: name a shell: {', '.join(SHELLS)}", file=sys.stderr)
        return 2
    import argcomplete

    programs = [f"fst-{name}" for name in COMMANDS]
    print(argcomplete.shellcode(programs, shell=rest[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
