"""Types of arguments, for argparse: numbers, devices, amounts of memory."""

import argparse
import math
import re
from fractions import Fraction
from functools import partial

from fst.errors import FstError
from fst.runtime.console import tell


def whole(text: str, least: int = 0, most: int | None = None) -> int:
    """A whole number from `least` up, or to `most`; of ten digits at most."""
    told = f"from {least} up" if most is None else f"{least} to {most}"
    if not re.fullmatch("[0-9]{1,10}", text) or not least <= int(text) <= (most or int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {told}")
    return int(text)


positive = partial(whole, least=1)


def number(text: str, least: float = 0, most: float = math.inf) -> float:
    """A finite number from `least` up, or to `most`."""
    told = f"from {least:g} up" if most == math.inf else f"from {least:g} to {most:g}"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (least <= value <= most and value < math.inf):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number {told}")
    return value


share = partial(number, most=1)


def positive_number(text: str) -> float:
    """A finite number above 0."""
    if not number(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return number(text)


def grid(text: str) -> tuple[int, int]:
    """RxC as two numbers from 1 up."""
    rows, _, columns = text.partition("x")
    if not (rows.isdecimal() and columns.isdecimal() and int(rows) and int(columns)):
        raise argparse.ArgumentTypeError(f"{text!r} is not ROWSxCOLUMNS, such as 3x3")
    return int(rows), int(columns)


def device_name(text: str) -> str:
    """A device by torch's name for it."""
    if not re.fullmatch(r"(cpu|cuda|mps|xpu)(:[0-9]{1,3})?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is none of cpu, cuda, cuda:1, mps, xpu")
    return text


class Former(argparse.Action):
    """A flag's name of before, which goes on for one version."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        tell(parser.prog, f"warning: {option_string} is called --{self.dest} from now on")
        setattr(namespace, self.dest, values)


def amount(text: str) -> int:
    """An amount of memory, in bytes."""
    from fst.runtime.memory import parse_bytes

    try:
        return parse_bytes(text)
    except FstError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def frame_rate(text: str) -> Fraction:
    """A number of frames a second, maybe as a fraction."""
    from fst.stylize.video.clips import MAX_RATE, MIN_RATE

    if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6}|/[0-9]{1,6})?", text):
        top, _, below = text.partition("/")
        if not below or int(below):
            rate = Fraction(top) / int(below or 1)
            if MIN_RATE <= rate <= MAX_RATE:
                return rate
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a number of frames a second such as 25 or 30000/1001; "
        "pictures go before --sequence"
    )
