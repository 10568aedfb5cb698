"""Find a style by id or by name."""

from collections.abc import Sequence

from fst.errors import FstError, near_matches


def find_style(names: Sequence[str], style: int | str) -> int:
    """The id of a style of a model, given by id or by name.

    Raises:
        FstError: There is no such style; names those that come near.

    Examples:
        >>> find_style(["wave", "udnie"], "udnie")
        1
        >>> find_style(["wave", "udnie"], "wafe")
        Traceback (most recent call last):
        fst.errors.FstError: the model has no style 'wafe': did you mean wave?
    """
    if isinstance(style, int):
        if 0 <= style < len(names):
            return style
        raise FstError(
            f"style id {style} is out of range: the model has {len(names)} styles, "
            f"0 ({names[0]}) to {len(names) - 1} ({names[-1]})"
        )
    if style in names:
        return list(names).index(style)
    hint = near_matches(style, names) or f"it has {', '.join(names[:10])}"
    raise FstError(f"the model has no style {style!r}: {hint}")
