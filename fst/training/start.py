"""What a run of fst-train begins from: random weights, a trained network, or a run to resume.

Without torch at the top, so that `--help` can name the defaults.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fst.errors import FstError
from fst.losses import objective

if TYPE_CHECKING:
    from fst.training.module import StyleTransferModule
    from fst.training.settings import Schedule, Start

# In a run that begins from a trained network: for which share of its steps the style parameters
# (gamma and beta) learn alone, and how much faster than the convolutions. Two unseen paintings, 250
# steps, held-out style distance: rate 2: 0.485, rate 10: 0.416; with or without a first part for
# the style parameters: 0.416.
STYLES_FIRST_SHARE, STYLES_RATE = 0.25, 10.0
MOST = 10  # times the usual steps, for a run that ends at its plateau
SCRATCH_STEPS, WARM_STEPS, ADD_STEPS = 4000, 400, 200
# Side of the crops and images per step. Gamma and beta alone learn a style within 10 % of what
# training all weights reaches from 200 steps of 2 x 192 px (docs/train.md, "Styles one by one").
BATCH, ADD_BATCH = (256, 4), (192, 2)
# Batches of 4 are too little work for a GPU. Adam's peak rate grows with the root of the batch
# (fst.training.schedule.scaled_rate).
LEARNING_RATE, CUDA_BATCH, CUDA_LEARNING_RATE = 1e-3, 16, 2e-3
SCRATCH_TRUNK = (0.5, 8)  # width and residual blocks
# Settings that are fields of `Objective` under the same name.
_OF_OBJECTIVE = ("content_layer", "style_layers", "content_weight", "tv_weight", "grid_weight",
    "grain_weight", "colour_weight", "tone_weight", "consistency_weight", "grey_every",
    "classic_weights")  # fmt: skip
# Those that there were not in fst 0.1.0, whose checkpoints have none of them.
_LATER = ("grain_weight", "colour_weight", "tone_weight", "consistency_weight", "grey_every")


class Refused(FstError):
    """Lightning has found what is wrong with its flags when it began."""


def settle(settings: Any) -> None:
    """Put in what the user has not given and what follows from the beginning: whether that is a
    trained network, the network's size, steps, and what each step sees."""
    trunk = _trunk(settings)
    # Another architecture asked for outweighs the default.
    asked = (settings.width, settings.num_blocks)
    fits = all(a in (None, t) for a, t in zip(asked, trunk, strict=True))
    if not (fits or settings.resume or settings.warm_start or settings.add_to):
        settings.from_scratch, trunk = True, SCRATCH_TRUNK
    settings.width = trunk[0] if settings.width is None else settings.width
    settings.num_blocks = trunk[1] if settings.num_blocks is None else settings.num_blocks
    rows_alone = settings.add_to and not settings.tune_trunk
    usual = ADD_STEPS if rows_alone else WARM_STEPS
    usual = SCRATCH_STEPS if settings.from_scratch else usual
    if settings.until and not settings.resume:
        _settle_plateau(settings, usual)
    settings.steps = settings.steps or usual
    _settle_batch(settings, *(ADD_BATCH if rows_alone else BATCH))


def _settle_batch(settings: Any, size_px: int, batch_size: int) -> None:
    """What a step sees, and the rate that goes with it: on a GPU and on other devices."""
    from fst.runtime.memory import takes_cuda

    on_gpu = takes_cuda(settings.trainer.accelerator or "auto")
    settings.size = settings.size or size_px
    settings.batch_size = settings.batch_size or (CUDA_BATCH if on_gpu else batch_size)
    is_large = on_gpu and settings.batch_size >= CUDA_BATCH
    settings.lr = settings.lr or (CUDA_LEARNING_RATE if is_large else LEARNING_RATE)


def _trunk(settings: Any) -> tuple[float, int]:
    """Width and residual blocks of the network that the run begins from."""
    from fst.training.warm_start import trunk_size

    if settings.resume:
        try:
            architecture = _resumed(settings)["style_model"]["architecture"]
        except FstError:
            return SCRATCH_TRUNK  # the command tells about the file with all else that is wrong
        return architecture["width"], architecture["num_blocks"]
    return SCRATCH_TRUNK if settings.from_scratch else trunk_size(_model(settings))


def _settle_plateau(settings: Any, usual_steps: int) -> None:
    """What else follows from the usual number of steps, where the run may take many more."""
    settings.steps = settings.steps or MOST * usual_steps
    usual_steps = min(usual_steps, settings.steps)
    settings.val_every = settings.val_every or max(1, usual_steps // 10)
    settings.save_every = settings.save_every or max(1, usual_steps // 20)
    if settings.rows_first is None:
        settings.rows_first = first_steps(usual_steps, bool(settings.from_scratch))


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


def make_module(settings: Any, styles: list, kept: list, network: Any) -> "StyleTransferModule":
    """The module, with the weights that it begins from; the loss network is read already."""
    from fst.training.module import StyleTransferModule
    from fst.training.settings import Architecture, Objective

    given = {name: getattr(settings, name) for name in _OF_OBJECTIVE}
    if settings.resume:  # runs from before there was one of these go on without
        stored = _resumed(settings)["hyper_parameters"].get("objective", {})
        for name in _LATER:
            given[name] = stored.get(name, 0) if given[name] is None else given[name]
    minimised = Objective(
        loss_network=_one_or_each(settings.loss_weights) or settings.loss_network,
        style_weight=_one_or_each(settings.style_weight),
        style_loss=objective.statistic(settings.classic_weights, settings.style_loss),
        style_size_px=_one_or_each(settings.style_size),
        **given,
    )
    architecture = Architecture(settings.width, settings.num_blocks, **_margin(settings))
    began = _beginning(settings, kept)
    module = StyleTransferModule(styles, architecture, minimised, *began, seed=settings.seed)
    module.objective.loss_network = network
    _begin(settings, module)
    return module


def _margin(settings: Any) -> dict[str, int]:
    """That of the run or of the model that goes on; of a new network the default."""
    from fst.style_model.format import load_style_model

    if settings.resume:
        return {"margin": _resumed(settings)["style_model"]["architecture"].get("margin", 0)}
    return {"margin": load_style_model(settings.add_to)[0].margin} if settings.add_to else {}


def _one_or_each(values: list | None) -> Any:
    """A list of one as its value."""
    return values[0] if values and len(values) == 1 else values


def _beginning(settings: Any, kept: list[dict[str, Any]]) -> "tuple[Schedule, Start]":
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


def _begin(settings: Any, module) -> None:
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
    alone = f"; until step {steps} only gamma and beta of the styles learn" * bool(steps)
    return f"beginning from the weights of {module.start.began_from}{alone}"


def _resumed(settings: Any) -> dict[str, Any]:
    """The checkpoint of the run to resume."""
    from fst.training.checkpoint import read_run

    return read_run(settings.resume)


def _model(settings: Any) -> str | Path:
    from fst.assets import GALLERY

    return settings.add_to or settings.warm_start or GALLERY
