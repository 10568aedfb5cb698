"""What a command computes on and how much memory it may take, from its flags."""

import argparse
import re

from fst.errors import FstError


def device_name(text: str) -> str:
    """Type of --device.

    Raises:
        argparse.ArgumentTypeError: It is not a name of torch's.
    """
    if not re.fullmatch(r"(cpu|cuda|mps|xpu)(:[0-9]{1,3})?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is none of cpu, cuda, cuda:1, mps, xpu")
    return text


def amount(text: str) -> int:
    """An amount of memory, in bytes."""
    from fst.runtime.memory import parse_bytes

    try:
        return parse_bytes(text)
    except FstError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
