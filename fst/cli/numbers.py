"""Types of arguments that are numbers, for argparse."""

import argparse
import math


def whole(text: str, least: int = 0) -> int:
    """A whole number from `least` up."""
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} up")
    return int(text)


def positive(text: str) -> int:
    """A whole number from 1 up."""
    return whole(text, 1)


def number(text: str) -> float:
    """A finite number from 0 up."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 up")
    return value


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
