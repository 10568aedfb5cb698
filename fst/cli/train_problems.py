"""What is wrong with the arguments of fst-train: all of it, a line each, with near matches."""

import re

from jsonargparse import ArgumentParser

from fst.cli.commands import flags_of, near_flags
from fst.cli.trainer_flags import SETTLED, TRAINER, settled

# What jsonargparse says of an unknown name in a settings file.
IN_FILE = re.compile(r"(?:Group '(trainer)' does not accept option|Option) '([\w-]+)'")


def all_problems(parser: ArgumentParser, argv: list[str], first: Exception) -> list[str]:
    """One line a problem: parse each flag with its values alone and collect what fails."""
    groups: list[list[str]] = []
    for argument in argv:
        if argument.startswith("-") and not _is_number(argument):
            groups.append([argument])
        elif groups:
            groups[-1].append(argument)
        else:
            groups.append([argument])
    problems = []
    known = flags_of(parser) + [TRAINER + name for name in SETTLED]
    for group in groups:
        if told := settled(group[0]):
            problems.append(told)
            continue
        try:
            parser.parse_args(group)
        except Exception as error:
            told = _one_line(error)
            problems.append("; ".join(filter(None, [told, _hint(told, group[0], known)])))
    return list(dict.fromkeys(problems)) or [_one_line(first)]


def _hint(told: str, flag: str, known: list[str]) -> str:
    """The flags that come near one, or near a name in a settings file, that is refused."""
    if told.startswith("unrecognized"):
        return near_flags(flag, known)
    name = IN_FILE.match(told)
    if name is None:
        return ""
    return near_flags(TRAINER + name[2] if name[1] else f"--{name[2].replace('_', '-')}", known)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."
