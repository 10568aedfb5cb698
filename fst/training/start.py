"""What a run of fst-train begins from: random weights, a trained network, or a run to resume."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fst.errors import FstError

if TYPE_CHECKING:
    from fst.training.settings import Schedule, Start

# In a run that begins from a trained network: for which share of its steps the style parameters
# (gamma and beta) learn alone, and how much faster than the convolutions. Two unseen paintings, 250
# steps, held-out style distance: rate 2: 0.485, rate 10: 0.416; with or without a first part for
# the style parameters: 0.416.
STYLES_FIRST_SHARE, STYLES_RATE = 0.25, 10.0


def kept_styles(settings: Any) -> list[dict[str, Any]]:
    """What the model that styles are added to says of its own; none where that is not asked for."""
    from fst.style_model.format import load_style_model

    if not settings.add_to:
        return []
    if settings.resume:  # the run holds them; the model may be gone
        return _resumed(settings)["hyper_parameters"]["start"].get("kept_styles", [])
    return load_style_model(settings.add_to)[1]["styles"]


def check_names(settings: Any, styles: list, kept: list[dict[str, Any]]) -> None:
    """Refuse to add a style under a name that the model has."""
    names = {style["name"] for style in kept}
    if len(names) < len(kept):
        raise FstError(
            f"{settings.add_to} has several styles of one name: rename them with "
            "fst-styles rename MODEL ID NAME"
        )
    taken = [style.name for style in styles if style.name in names]
    if taken:
        raise FstError(
            f"{settings.add_to} has {', '.join(taken)} already: rename the picture, or "
            "the style with fst-styles rename"
        )


def check_resume(settings: Any, styles: list | None, kept: list[dict[str, Any]]) -> None:
    """Refuse to resume a run with other styles or another network, or one that is done."""
    if settings.resume:
        for told in _differences(settings, styles or [], kept):
            raise FstError(f"{settings.resume} {told}")


def _differences(settings: Any, styles: list, kept: list[dict[str, Any]]) -> Iterator[str]:
    """What the run to resume has otherwise, and the way out."""
    from fst.data.styles import fingerprint

    stored = _resumed(settings)
    marked = stored["style_model"]["styles"][len(kept) :]
    before, now = [mark["name"] for mark in marked], [style.name for style in styles]
    if styles and before != now:
        yield (
            f"was trained for {', '.join(before)}, now `styles` are {', '.join(now)}: leave "
            "`styles` out, or start a new run"
        )
    for style, mark in zip(styles, marked, strict=False):
        if mark.get("fingerprint") not in (None, fingerprint(style)):  # older runs have none
            yield (
                f"began when style {style.name} was other pictures: put those back, or begin a new "
                f"run with `warm_start` {settings.resume}"
            )
    architecture = stored["style_model"]["architecture"]
    for name in ("width", "num_blocks"):
        if architecture[name] != (value := getattr(settings, name)):
            out = "leave the flag out, or start a new run"
            yield f"has {name} {architecture[name]}, not {value}: {out}"
    start, schedule = (stored["hyper_parameters"][name] for name in ("start", "schedule"))
    if (tuned := start.get("tune_trunk", False)) != settings.tune_trunk:
        out = "leave the flag as it was, or start a new run"
        yield f"began with{'' if tuned else 'out'} `tune_trunk` and goes on so: {out}"
    if settings.rows_first not in (None, first := schedule["styles_first_steps"]):
        out = "leave the flag out, or start a new run"
        yield f"began with `rows_first` {first} and goes on so: {out}"
    if (done := stored["global_step"]) > settings.steps:
        yield f"has done {done} steps, more than `steps` {settings.steps}: give more"


def finished(settings: Any) -> str | None:
    """What to tell of a run to resume that has done all its steps; None where there is work."""
    if not settings.resume:
        return None
    stored = _resumed(settings)
    if stored["global_step"] == settings.steps:
        return f"{settings.resume} has done its {settings.steps} steps; `steps` takes it further"
    if is_at_plateau(stored):
        return (
            f"{settings.resume} has ended at its plateau; for more, begin a run with `warm_start` "
            f"{settings.resume}"
        )
    return None


def is_at_plateau(stored: dict[str, Any]) -> bool:
    """Whether the run of a checkpoint has ended by itself."""
    watched = stored.get("callbacks", {}).get("Watch", {})
    return bool(watched.get("fall")) and stored["global_step"] >= watched["fall"][1]


def beginning(settings: Any, kept: list[dict[str, Any]]) -> "tuple[Schedule, Start]":
    """The module's arguments that follow from the start; a resumed run goes on as before."""
    from fst.training.settings import Schedule, Start

    rates: dict[str, Any] = {"learning_rate": settings.lr, "scale_lr": settings.scale_lr}
    rates["until_plateau"] = settings.until is not None
    if settings.resume:
        before = _resumed(settings)["hyper_parameters"]
        names = ("styles_first_steps", "styles_rate")
        rates |= {name: before["schedule"][name] for name in names}
        began_from = before["start"]["began_from"]
    else:
        warm, steps = not settings.from_scratch, settings.rows_first
        steps = first_steps(settings.steps, not warm) if steps is None else steps
        rates |= {"styles_first_steps": steps, "styles_rate": STYLES_RATE if warm else 1.0}
        began_from = Path(_model(settings)).name if warm else None
    return Schedule(**rates), Start(began_from, kept, settings.tune_trunk)


def first_steps(steps: int, from_scratch: bool) -> int:
    """For how many steps of a run gamma and beta learn alone, unless the user says otherwise."""
    return 0 if from_scratch else round(STYLES_FIRST_SHARE * steps)


def begin(settings: Any, module) -> None:
    """Put the weights of the trained network in, where the run begins from one."""
    from fst.training.warm_start import warm_start

    if settings.from_scratch or settings.resume:
        return
    names = [style["name"] for style in module.start.kept_styles]
    names += [style.name for style in module.styles]
    try:
        warm_start(module.network, names, _model(settings))
        if module.keeper is not None:
            warm_start(module.keeper.network, names[: module.first_id], _model(settings))
    except FstError as error:
        name = "add_to" if settings.add_to else "warm_start"
        raise type(error)(f"`{name}`: {error}") from None


def announcement(settings: Any, module) -> str | None:
    """What to tell about the start; nothing of a resumed run."""
    if settings.resume:
        return None
    if settings.from_scratch:
        return f"beginning from random weights, width {settings.width:g}"
    steps = module.schedule.styles_first_steps
    if settings.add_to and not settings.tune_trunk:
        return (
            f"adding to {module.start.began_from}: only gamma and beta of the new styles learn, "
            f"its {module.first_id} styles stay as they are"
        )
    if settings.add_to:
        return (
            f"adding to {module.start.began_from}: after {steps} steps the convolutions learn "
            f"too, held to paint its {module.first_id} styles as before"
        )
    alone = f"; for {steps} steps only gamma and beta of the styles learn" * bool(steps)
    return f"beginning from the weights of {module.start.began_from}{alone}"


def _resumed(settings: Any) -> dict[str, Any]:
    """The checkpoint of the run to resume."""
    from fst.training.checkpoint import read_run

    return read_run(settings.resume)


def _model(settings: Any) -> str | Path:
    from fst.assets import GALLERY

    return settings.add_to or settings.warm_start or GALLERY
