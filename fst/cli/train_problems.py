"""What is wrong with the arguments of fst-train: all of it, a line each, with near matches.

Of the flags of Lightning's Trainer it settles some itself, and says what to give instead.
"""

import re

from jsonargparse import ArgumentParser

from fst.cli.commands import flags_of, near_flags

TRAINER = "--trainer."
ONE_EPOCH = "a run is one long epoch"
# Name to the way out.
SETTLED = {
    "max_steps": "use --steps",
    "min_steps": "use --steps, which a run always reaches",
    "max_epochs": f"{ONE_EPOCH}, use --steps",
    "min_epochs": f"{ONE_EPOCH}, use --steps",
    "max_time": "use --steps, or send SIGTERM when the time is over ('timeout 2h fst-train ...'): "
    "the run stores the step just taken",
    "default_root_dir": "use -o",
    "enable_checkpointing": "a run always stores its model, use --save-every",
    "val_check_interval": "use --val-every",
    "check_val_every_n_epoch": f"{ONE_EPOCH}, use --val-every",
    "num_sanity_val_steps": "leave it out, a run begins without a validation",
    "reload_dataloaders_every_n_epochs": f"leave it out, {ONE_EPOCH}",
    "use_distributed_sampler": "leave it out, processes share the photos in any case",
    "enable_model_summary": "use --trainer.callbacks ModelSummary",
}
# What jsonargparse says of a number of another type, and what it should say.
OF_TYPE = re.compile(r'Parser key "(\w+)"(?: element \d+)?: Not of type (\w+): ')
NUMBERS = {
    "PositiveInt": "a whole number from 1 up",
    "NonNegativeInt": "a whole number from 0 up",
    "PositiveFloat": "a number above 0",
    "NonNegativeFloat": "a number from 0 up",
}
# What it says of an unknown name in a settings file.
IN_FILE = re.compile(r"(?:Group '(trainer)' does not accept option|Option) '([\w-]+)'")


def all_problems(
    parser: ArgumentParser, argv: list[str], given: list[str], first: Exception
) -> list[str]:
    """One line a problem: parse each flag with its values alone and collect what fails.

    Args:
        parser: Has refused them.
        argv: The arguments, with settings files as text where they were changed.
        given: The arguments as the user gave them.
        first: What the parser said.
    """
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
            hint = _hint(told, group[0], known)
            problems.append(_source(group, given) + "; ".join(filter(None, [told, hint])))
    return list(dict.fromkeys(problems)) or [_one_line(first)]


def _source(group: list[str], given: list[str]) -> str:
    """The file that a --config names, or whose settings stand in its place as text."""
    if group[0] != "--config" or len(group) < 2:
        return ""
    if "\n" not in group[1]:
        return f"{group[1]}: "
    for flag in ("--config", "--resume"):
        for argument, following in zip(given, [*given[1:], ""], strict=True):
            name, equals, value = argument.partition("=")
            if name == flag:
                return f"{value if equals else following}: "
    return ""


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
    number = OF_TYPE.match(text)
    if number is not None and number[2] in NUMBERS:
        return f"--{number[1].replace('_', '-')}: expected {NUMBERS[number[2]]}"
    return text if len(text) <= 300 else text[:297] + "..."


def settled(argument: str) -> str | None:
    """What to tell of a flag that fst-train settles itself; None of another."""
    flag = argument.partition("=")[0]
    name = flag.removeprefix(TRAINER).partition(".")[0]
    if flag.startswith(TRAINER) and name in SETTLED:
        return f"{TRAINER}{name}: {SETTLED[name]}"
    return None
