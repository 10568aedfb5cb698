"""The training module: what it computes, what it stores and what it keeps out of storage."""

import copy
import math
from inspect import signature
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from fst import Stylizer
from fst.data.batches import StyleBatch
from fst.data.styles import load_pictures, read_styles
from fst.errors import FstError
from fst.io.images import load
from fst.losses.colour import paleness
from fst.losses.grain import excess_grain
from fst.losses.perceptual import PerceptualLoss
from fst.losses.tone import misplaced_tone
from fst.losses.traits import Traits
from fst.networks.loss_network import load_loss_network
from fst.training.checks import check_loss_network
from fst.training.curves import PaintingGrid, RunLog
from fst.training.module import StyleTransferModule
from fst.training.report import RunEnds
from fst.training.schedule import WARMUP_STEPS
from fst.training.settings import Architecture, Objective

SMALL = Architecture(width=0.125, num_blocks=1)


class Repeated(pl.LightningDataModule):
    """The same batch again and again."""

    def __init__(self, count=4, style_ids=(1, 0)):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        photos = torch.randint(0, 256, (2, 3, 40, 48), generator=generator, dtype=torch.uint8)
        self.batches = [StyleBatch(photos, torch.tensor(style_ids))] * count
        self.photos = [photos[0]]

    def train_dataloader(self):
        return DataLoader(self.batches, batch_size=None)

    def val_dataloader(self):
        return DataLoader(self.photos, batch_size=1)


@pytest.fixture
def make_module(style_files, loss_weights):
    def make(**settings):
        styles = [{"name": path.stem, "images": [str(path)]} for path in style_files]
        schedule = {"learning_rate": settings.pop("learning_rate", 1e-3)}
        rest = {"seed": settings.pop("seed", 0)}
        objective = {"loss_network": str(loss_weights)} | settings
        return StyleTransferModule(styles, SMALL, objective, schedule, **rest)

    return make


def fit(module, folder, steps=4, style_ids=(1, 0), data=None, **settings):
    trainer = pl.Trainer(
        **{"max_steps": steps, "accelerator": "cpu"} | settings,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    trainer.fit(module, datamodule=data or Repeated(steps, style_ids))
    return trainer


@pytest.fixture(scope="module")
def fitted(style_files, loss_weights, tmp_path_factory):
    styles = [{"name": path.stem, "images": [str(path)]} for path in style_files]
    module = StyleTransferModule(
        styles, SMALL, Objective(loss_network=str(loss_weights), shift_px=0)
    )
    fit(module, tmp_path_factory.mktemp("fitted"))
    return module


def test_the_loss_network_is_no_part_of_the_module(fitted):
    assert fitted.perceptual is not None
    loss_network = {id(p) for p in fitted.perceptual.loss_network.parameters()}
    assert loss_network
    assert not loss_network & {id(parameter) for parameter in fitted.parameters()}
    assert not any(child is fitted.perceptual.loss_network for child in fitted.modules())


def test_only_the_network_is_stored_and_trained(fitted):
    assert all(key.startswith("network.") for key in fitted.state_dict())
    groups = fitted.optimizers(use_pl_optimizer=False).param_groups
    optimized = [parameter for group in groups for parameter in group["params"]]
    assert {id(p) for p in optimized} == {id(p) for p in fitted.network.parameters()}
    assert {id(p) for p in fitted.parameters()} == {id(p) for p in fitted.network.parameters()}


def test_the_loss_network_stays_frozen(fitted, loss_weights):
    stored = load_file(loss_weights)["features.0.weight"]
    parameter = next(fitted.perceptual.loss_network.parameters())
    assert torch.equal(parameter, stored) and not parameter.requires_grad
    assert parameter.grad is None and not fitted.perceptual.loss_network.training


def test_hyperparameters_are_plain_values(fitted):
    def plain(value):
        if isinstance(value, dict):
            return all(map(plain, value.values()))
        if isinstance(value, list | tuple):
            return all(map(plain, value))
        return type(value) in (int, float, str, bool, type(None))

    assert plain(dict(fitted.hparams))


def test_same_seed_same_weights_whatever_the_global_generator(make_module):
    torch.manual_seed(1)
    first = make_module(seed=5)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second, third = make_module(seed=5), make_module(seed=6)
    assert torch.equal(torch.get_rng_state(), state)  # nor is the generator touched
    weights = [module.network.conv_in.conv.weight for module in (first, second, third)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_forward_paints_each_image_in_its_own_style(make_module):
    module = make_module().eval()
    with torch.no_grad():
        for norm in (m for m in module.modules() if hasattr(m, "gamma")):
            norm.gamma[1] += 0.5
        photos = torch.rand(3, 3, 32, 40, generator=torch.Generator().manual_seed(0))
        painted = module(photos, torch.tensor([0, 1, 0]))
        assert painted.shape == photos.shape and painted.min() >= 0 and painted.max() <= 1
        for row, style_id in enumerate([0, 1, 0]):
            alone = module(photos[row : row + 1], torch.tensor([style_id]))[0]
            torch.testing.assert_close(painted[row], alone, rtol=0, atol=1e-5)
        other = module(photos[1:2], torch.tensor([0]))[0]
    assert (other - painted[1]).abs().max() > 1e-3


def test_one_step_is_one_step_of_adam(make_module, tmp_path):
    """The oracle: the gradient by hand, and Adam's first step, lr * sign(gradient)."""
    module = make_module(
        shift_px=0, learning_rate=0.01, grain_weight=0, colour_weight=0, tone_weight=0,
        consistency_weight=0, grey_every=0,
    )  # fmt: skip
    before = copy.deepcopy(module.network)
    fit(module, tmp_path, steps=1)
    photos, style_index = Repeated().batches[0]
    photos = photos.float() / 255
    painted = before(photos, before.one_hot(style_index))
    module.perceptual(painted, photos, style_index)["total"].backward()
    rate = 0.01 / WARMUP_STEPS
    for old, new in zip(before.parameters(), module.network.parameters(), strict=True):
        moved, gradient = (new - old).detach(), old.grad
        expected = -rate * gradient / (gradient.abs() + 1e-8)
        clear = gradient.abs() > 1e-4
        torch.testing.assert_close(moved[clear], expected[clear], rtol=0, atol=rate / 20)


def test_the_rate_warms_up_and_decays_to_zero(make_module):
    module = make_module(learning_rate=0.5)
    module.trainer = pl.Trainer(max_steps=1000, accelerator="cpu", logger=False, barebones=True)
    made = module.configure_optimizers()
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(1000):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == pytest.approx(0.5 / WARMUP_STEPS)
    assert max(rates) == pytest.approx(0.5, rel=0.01)
    assert rates[500] == pytest.approx(0.25, rel=1e-6)  # half way down the cosine
    assert rates[-1] < 1e-5
    assert optimizer.param_groups[0]["weight_decay"] == 0


def test_an_absent_style_is_not_moved(make_module, tmp_path):
    """Without weight decay a row of the tables that no image uses keeps its values."""
    module = make_module()
    fit(module, tmp_path, 3, style_ids=(0, 0))
    gamma, beta = module.network.conv_in.norm.gamma, module.network.conv_in.norm.beta
    assert torch.equal(gamma[1], torch.ones_like(gamma[1])) and not beta[1].any()
    assert not torch.equal(gamma[0], torch.ones_like(gamma[0]))


def test_targets_are_those_of_the_style_pictures(fitted, style_files):
    """Mean and covariance of the first layer by a naive loop over the picture's own features."""
    network = fitted.perceptual.loss_network
    for style_id, path in enumerate(style_files):
        features = network(load(path)[None], ["relu1_1"])["relu1_1"][0].flatten(1)  # (C, N)
        count = features.shape[1]
        means = torch.tensor([float(row.sum()) / count for row in features])
        rows = [row - mean for row, mean in zip(features, means, strict=True)]
        naive = torch.tensor([[float(a @ b) / count for b in rows] for a in rows])
        parts = fitted.perceptual.groups[0].targets["relu1_1"]
        mean, root, blur, _ = (part[style_id] for part in parts)
        torch.testing.assert_close(mean, means, rtol=1e-4, atol=1e-5)
        covariance = root @ root - blur * torch.eye(len(root))
        torch.testing.assert_close(covariance, naive, rtol=1e-4, atol=1e-5)


def test_held_out_figures_name_every_style(fitted):
    kinds = ("style", "content", "brushwork", "photo_brushwork", "found")
    expected = {f"val/{kind}/{s}" for kind in kinds for s in ("stripes", "cloud")}
    assert set(fitted.final_metrics) == expected | {f"val/{kind}" for kind in kinds}
    assert all(math.isfinite(figure) for figure in fitted.final_metrics.values())
    styles = [fitted.final_metrics[f"val/style/{name}"] for name in ("stripes", "cloud")]
    assert fitted.final_metrics["val/style"] == pytest.approx(sum(styles) / 2)


def test_one_style_alone_is_not_found_and_folders_and_shallow_networks_are_measured(
    style_files, loss_weights, tmp_path
):
    """A folder of two instances; one network to relu3_1 before a deeper one."""
    shallow = {k: v for k, v in load_file(loss_weights).items() if int(k.split(".")[1]) <= 10}
    save_file(shallow, tmp_path / "shallow.safetensors", {"topology": "vgg19"})
    pictures = {"name": "both", "images": [str(path) for path in style_files]}
    shallow_layers = {"content_layer": "relu3_1", "style_layers": ["relu1_1", "relu3_1"]}
    for networks, settings in (
        (str(tmp_path / "shallow.safetensors"), shallow_layers),
        ([str(tmp_path / "shallow.safetensors"), str(loss_weights)], {}),
    ):
        module = StyleTransferModule(
            [pictures], SMALL, Objective(loss_network=networks, **settings)
        )
        fit(module, tmp_path, steps=1, style_ids=(0, 0))
        assert set(module.metrics) == {"style", "content", "brushwork", "photo_brushwork"}
        assert len(module.final_metrics) == 8
        assert all(math.isfinite(figure) for figure in module.final_metrics.values())


class Validations(Callback):
    """Notes the steps of which brushwork was measured, and stops the run after one of them."""

    def __init__(self, stop_after):
        self.measured, self.stop_after = [], stop_after

    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop = trainer.global_step == self.stop_after

    def on_validation_end(self, trainer, module):
        assert "val/brushwork" in module.final_metrics
        self.measured.append(module.measured_step)


class LastValidation(RunEnds):
    """Of the end of a run by fst-train, the validation alone."""

    def setup(self, *_, **__):
        pass

    on_fit_end = setup


@pytest.mark.parametrize(("stop_after", "measured"), [(None, [2, 4]), (3, [2, 3]), (2, [2])])
def test_every_validation_measures_brushwork_and_the_last_step_has_one(
    make_module, tmp_path, stop_after, measured
):
    """So has the state that an earlier end leaves."""
    validations = Validations(stop_after)
    callbacks = [validations, LastValidation(tmp_path)]
    fit(make_module(), tmp_path, steps=4, val_check_interval=2, callbacks=callbacks)
    assert validations.measured == measured


def test_the_window_is_drawn_by_the_seed_and_of_one_size():
    objective, places = Objective(shift_px=3), set()
    for seed in range(40):
        rows, columns = objective.window(48, 40, seed)
        assert objective.window(48, 40, seed) == (rows, columns)
        assert (rows.stop - rows.start, columns.stop - columns.start) == (45, 37)
        places.add((rows.start, columns.start))
    assert len(places) > 8 and {place for pair in places for place in pair} == {0, 1, 2, 3}
    assert objective.window(32, 90, 0) == (slice(0, 32), slice(0, 90))
    assert objective.window(20, 20, 0) == (slice(0, 20), slice(0, 20))


def test_the_loss_sees_one_window_of_photo_and_painting(make_module, tmp_path, monkeypatch):
    seen, genuine = [], PerceptualLoss.compare

    def compare(self, stylized, content, comparison):
        seen.append((stylized.detach(), content))
        return genuine(self, stylized, content, comparison)

    monkeypatch.setattr(PerceptualLoss, "compare", compare)
    photos, ids = Repeated().batches[0]
    photos = photos.float() / 255
    painted = make_module()(photos, ids)  # of the same seed
    module = make_module(
        shift_px=3, consistency_weight=0, grain_weight=0, colour_weight=0, tone_weight=0
    )
    fit(module, tmp_path, steps=1)
    ((stylized, content),) = seen
    windows = [(..., slice(t, t + 37), slice(k, k + 45)) for t in range(4) for k in range(4)]
    (place,) = (window for window in windows if torch.equal(photos[window], content))
    torch.testing.assert_close(stylized, painted[place].detach())


def test_missing_loss_weights_are_named_before_the_first_step(make_module, tmp_path):
    missing = tmp_path / "vgg.safetensors"
    with pytest.raises(FstError, match=r"vgg\.safetensors"):
        fit(make_module(loss_network=str(missing)), tmp_path)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_both_precisions_train_with_finite_weights(make_module, tmp_path, precision):
    module = make_module()
    fit(module, tmp_path, precision=precision)
    assert all(p.isfinite().all() and p.dtype == torch.float32 for p in module.parameters())


# Used with a Trainer and data of one's own


class Rates(Callback):
    """The rate of each step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_a_run_by_epochs_has_the_rates_of_one_by_steps(make_module, tmp_path):
    by_epochs, by_steps = Rates(), Rates()
    fit(make_module(), tmp_path, callbacks=[by_steps], steps=8)
    data = Repeated(4)
    fit(make_module(), tmp_path, data=data, callbacks=[by_epochs], max_steps=-1, max_epochs=2)
    assert len(by_epochs.seen) == 8
    assert by_epochs.seen == by_steps.seen


def test_a_run_without_end_is_refused(make_module, tmp_path):
    with pytest.raises(FstError, match="max_steps, or max_epochs"):
        fit(make_module(), tmp_path, max_steps=-1, max_epochs=-1)


class Images(pl.LightningDataModule):
    """Batches as a user's own loaders give them."""

    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def train_dataloader(self):
        return DataLoader([self.batch] * 4, batch_size=None)

    def val_dataloader(self):
        return DataLoader([self.batch] * 2, batch_size=None)


@pytest.mark.parametrize("form", ["alone", "labelled", "list"])
@pytest.mark.parametrize("kind", ["uint8", "float"])
def test_any_batch_of_images_trains_the_same(make_module, tmp_path, form, kind):
    images = torch.randint(0, 256, (2, 3, 40, 48), generator=torch.Generator().manual_seed(0))
    images = images.to(torch.uint8) if kind == "uint8" else images / 255
    labels = torch.tensor([0, 999])  # of ImageNet, say
    batch = {"alone": images, "labelled": (images, labels), "list": [images]}[form]
    module, reference = make_module(), make_module()
    fit(module, tmp_path, data=Images(batch))
    fit(reference, tmp_path, data=Images((images * 255).round().to(torch.uint8)
                                         if kind == "float" else images))  # fmt: skip
    for ours, theirs in zip(module.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert math.isfinite(module.final_metrics["val/style"])


def test_both_styles_are_drawn_where_batches_have_no_ids(make_module, tmp_path):
    module = make_module()
    fit(module, tmp_path, steps=8, data=Images(torch.rand(2, 3, 40, 48)), max_epochs=2)
    gamma = module.network.conv_in.norm.gamma
    assert not torch.equal(gamma[0], torch.ones_like(gamma[0]))
    assert not torch.equal(gamma[1], torch.ones_like(gamma[1]))


def test_each_batch_draws_its_styles_anew_and_not_with_the_shifts(make_module, tmp_path):
    drawn, genuine = [], StyleTransferModule._seed_of_batch

    class Noted(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            drawn.append((genuine(module), module._seed_of_step()))

    settings = {"callbacks": [Noted()], "accumulate_grad_batches": 2}
    fit(make_module(), tmp_path, data=Images(torch.rand(2, 3, 40, 48)), steps=2, **settings)
    assert len({seed for seed, _ in drawn}) == len(drawn) == 4
    assert all(seed != of_shift for seed, of_shift in drawn)


@pytest.mark.parametrize(("weight", "moved"), [(None, True), (0.0, False)])
def test_one_of_four_photos_is_the_one_before_it_moved(
    make_module, tmp_path, monkeypatch, weight, moved
):
    painted, genuine = [], StyleTransferModule.forward

    def forward(self, photos, style_index):
        if torch.is_grad_enabled():
            painted.append((photos, list(style_index)))
        return genuine(self, photos, style_index)

    monkeypatch.setattr(StyleTransferModule, "forward", forward)
    batch = torch.rand(4, 3, 40, 48)
    module = make_module(consistency_weight=weight)
    trainer = fit(module, tmp_path, steps=2, data=Images(batch))
    assert len(painted) == 2
    for photos, ids in painted:
        changed = [at for at in range(4) if not torch.equal(photos[at], batch[at])]
        assert changed in ([1], [3]) if moved else changed == []
        for at in changed:
            assert ids[at] == ids[at - 1]
            middle = photos[at, :, 7:-7, 7:-7]
            windows = batch[at - 1].unfold(1, 26, 1).unfold(2, 34, 1)  # (3, 15, 15, 26, 34)
            assert (windows == middle[:, None, None]).all(4).all(3).all(0).sum() == 1
    assert ("train/consistency" in trainer.callback_metrics) == moved


def test_each_image_is_held_against_traits_of_its_style_and_tones_of_its_photo(
    make_module, tmp_path
):
    module = make_module(
        grain_weight=0.3, colour_weight=7, tone_weight=5, consistency_weight=0, grey_every=0,
        grid_weight=0,
    )  # fmt: skip
    trainer = fit(module, tmp_path, steps=1)
    before = make_module(consistency_weight=0)  # of the same seed
    photos, style_index = Repeated().batches[0]
    own = Traits.of([load_pictures([style], 512)[0] for style in before.styles]).rows(style_index)
    photos = photos.float() / 255
    painted = before(photos, style_index).detach()
    grain = excess_grain(painted, own.grain)
    colour = paleness(painted, own.colours)
    tone = misplaced_tone(painted, photos, own.colours[:, 0])
    measured = trainer.callback_metrics
    torch.testing.assert_close(measured["train/grain"], grain)
    torch.testing.assert_close(measured["train/colour"], colour)
    torch.testing.assert_close(measured["train/tone"], tone)
    rest = measured["train/content"] + 20 * measured["train/style"]
    torch.testing.assert_close(measured["train/loss"], rest + 0.3 * grain + 7 * colour + 5 * tone)


@pytest.mark.parametrize(("every", "expected"), [(None, {(0, 2), (1, 3)}), (4, None), (0, {()})])
def test_some_images_are_compared_in_grey(make_module, tmp_path, monkeypatch, every, expected):
    seen, genuine = set(), PerceptualLoss.compare

    def compare(self, stylized, content, comparison):
        seen.add(tuple(range(4)[comparison.grey]))
        return genuine(self, stylized, content, comparison)

    monkeypatch.setattr(PerceptualLoss, "compare", compare)
    fit(make_module(grey_every=every), tmp_path, steps=8, data=Images(torch.rand(4, 3, 40, 48)))
    assert seen == expected if expected else seen <= {(0,), (1,), (2,), (3,)}


def test_normalised_photos_are_refused(make_module, tmp_path):
    with pytest.raises(FstError, match="not normalised"):
        fit(make_module(), tmp_path, data=Images(torch.randn(2, 3, 40, 48)))


@pytest.mark.parametrize("batch", [torch.zeros(2, 40, 48), {"image": torch.zeros(1)}, []])
def test_a_batch_without_images_is_refused(make_module, tmp_path, batch):
    with pytest.raises(FstError, match="expected images"):
        fit(make_module(), tmp_path, data=Images(batch))


def test_styles_may_be_pictures_or_styles(style_files, loss_weights):
    paths = StyleTransferModule(style_files, SMALL, Objective(loss_network=loss_weights))
    one = StyleTransferModule([{"images": str(style_files[0])}], SMALL)
    assert [style.name for style in paths.styles] == [path.stem for path in style_files]
    assert one.styles[0].images == (str(style_files[0]),)
    assert StyleTransferModule(paths.styles, SMALL).styles == paths.styles
    with pytest.raises(FstError, match="unknown key 'image'"):
        StyleTransferModule([{"image": "wave.jpg"}])


class Brightness:
    """A statistic of a user's."""

    def target(self, features):
        return (torch.stack([image.mean() for image in features]).mean(),)

    def distance(self, features, mean):
        return (features.mean((1, 2, 3)) - mean).square()


def test_an_objective_of_ones_own_trains(make_module, loss_weights, tmp_path):
    network = load_loss_network(loss_weights)
    module = make_module(loss_network=network, style_loss=Brightness(), content_weight=0.5)
    assert module.hparams.objective["style_loss"] == "Brightness"  # a checkpoint holds no objects
    fit(module, tmp_path)
    assert module.perceptual.loss_network is network
    assert {s.text for s in module.perceptual.statistics} == {"Brightness"}
    assert module.perceptual.weights[0] == 0.5


def test_settings_that_are_none_are_refused(style_files):
    with pytest.raises(FstError, match=r"Objective has no 'lr': it takes loss_network, "):
        StyleTransferModule(style_files, objective={"lr": 1})


def test_the_module_takes_few_arguments():
    assert len(signature(StyleTransferModule).parameters) < 9


def test_a_checkpoint_makes_the_module_again(run, tmp_path):
    module = StyleTransferModule.load_from_checkpoint(run / "last.ckpt")
    assert (module.architecture, module.objective.style_loss) == (SMALL, "wasserstein")
    stored = torch.load(run / "last.ckpt", weights_only=True)
    assert dict(module.hparams) == stored["hyper_parameters"]
    for name, tensor in module.network.state_dict().items():
        assert torch.equal(tensor, stored["state_dict"][f"network.{name}"])
    own = StyleTransferModule.load_from_checkpoint(
        run / "last.ckpt", objective=Objective(style_loss=Brightness())
    )
    assert isinstance(own.objective.style_loss, Brightness)


def test_a_checkpoint_of_before_the_groups_is_refused_in_one_line(run, tmp_path):
    stored = torch.load(run / "last.ckpt", weights_only=True)
    groups = stored["hyper_parameters"]
    flat = {"styles": groups["styles"], "seed": groups["seed"]}
    for name in ("architecture", "objective", "schedule", "start"):
        flat |= groups[name]
    torch.save(stored | {"hyper_parameters": flat}, tmp_path / "old.ckpt")
    with pytest.raises(FstError, match=r"a run of fst 0\.1: resume it with that version"):
        StyleTransferModule.load_from_checkpoint(tmp_path / "old.ckpt")


def test_the_module_saves_a_style_model_and_paints(make_module, tmp_path):
    module = make_module()
    assert module.save(tmp_path / "wave.safetensors") == tmp_path / "wave.safetensors"
    photo = torch.rand(3, 40, 48)
    of_file, of_module = Stylizer(tmp_path / "wave.safetensors"), Stylizer(module)
    assert of_module.style_names == of_file.style_names == ["stripes", "cloud"]
    assert torch.equal(of_module.stylize(photo, "cloud"), of_file.stylize(photo, "cloud"))
    assert module.network.conv_in.conv.weight.requires_grad  # it can go on learning
    with pytest.raises(FstError, match=r"wave\.pt: style models end in \.safetensors"):
        module.save(tmp_path / "wave.pt")


def test_style_ids_may_be_of_any_whole_kind(make_module):
    module, photos = make_module().eval(), torch.rand(2, 3, 32, 32)
    expected = module(photos, torch.tensor([1, 1]))
    for index in (1, np.int64(1), np.array([1, 1]), [1, 1], torch.tensor(1)):
        assert torch.equal(module(photos, index), expected)
    for wrong, told in ((0.5, "whole number"), (2, "expected 0 to 1"), (-1, "expected 0 to 1")):
        with pytest.raises(FstError, match=told):
            module(photos, wrong)


def test_moving_the_module_moves_its_loss(make_module, tmp_path):
    module = make_module()
    fit(module, tmp_path, steps=1)
    module.to("meta")
    assert module.perceptual.device.type == "meta"
    assert {m.device.type for m in module.perceptual.loss_network.parameters()} == {"meta"}


def test_style_ids_stay_on_the_cpu(make_module):
    """On a GPU they would have to be waited for."""
    photos, ids = torch.rand(1, 3, 32, 32), torch.tensor([1])
    moved = make_module().transfer_batch_to_device(StyleBatch(photos, ids), torch.device("meta"), 0)
    assert moved.photos.device.type == "meta" and moved.style_index is ids


def test_a_grid_is_painted_of_any_validation_loader(make_module, tmp_path):
    """Images with labels, of more than one size: those of the first are shown."""
    sizes = [(40, 48), (40, 48), (32, 32)]
    batches = [(torch.rand(1, 3, *size), torch.tensor([7])) for size in sizes]
    logger = TensorBoardLogger(tmp_path, name="", version="log")
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=logger, enable_checkpointing=False,
        enable_progress_bar=False, num_sanity_val_steps=0, callbacks=[PaintingGrid(), RunLog()],
        log_every_n_steps=1, enable_model_summary=False,
    )  # fmt: skip
    loaders = (DataLoader(batches[:n], batch_size=None) for n in (2, 3))
    trainer.fit(make_module(), *loaders)
    events = EventAccumulator(str(tmp_path / "log"), {"images": 0})
    events.Reload()
    (grid,) = events.Images("val/paintings")
    # Cells with 6 px between them, 22 px for the names above the first row.
    assert (grid.width, grid.height) == (3 * 54 + 6, 3 * 46 + 22)
    assert {"train/loss", "train/style", "train/layer/relu1_1"} <= set(events.Tags()["scalars"])


class Waits(TorchDispatchMode):
    """Counts what a GPU would be waited for: numbers and tensors that come to the host."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        is_read = function is torch.ops.aten._local_scalar_dense.default
        self.count += is_read and args[0].dtype != torch.int64  # style ids are on the CPU
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("style_loss", ["gram", "sliced"])
def test_a_step_waits_for_the_device_once(make_module, tmp_path, monkeypatch, style_loss):
    """To know that all is finite; what the bar and the curves show comes along."""
    waits, seen, to_host, genuine = Waits(), [], [], torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: (to_host.append(1), genuine(self))[1])

    class Counting(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            to_host.clear()
            waits.__enter__()

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            waits.__exit__(None, None, None)
            seen.append((waits.count, len(to_host)))
            waits.count = 0

    fit(make_module(style_loss=style_loss), tmp_path, callbacks=[Counting(), RunLog()])
    assert seen[1:] == [(1, 1)] * 3  # of values that are on the CPU by then, and their coming


@pytest.mark.parametrize(("classic", "padding"), [(False, "reflect"), (True, "zeros")])
def test_training_pads_by_reflection_except_with_the_classic_weights(
    loss_weights, style_files, tmp_path, classic, padding
):
    path = tmp_path / "zeros.safetensors"
    save_file(load_file(loss_weights), path, metadata={"topology": "vgg19", "padding": "zeros"})
    given = {"classic_weights": classic, "style_layers": None, "content_layer": "relu2_1"}
    for files in ([str(path)], [str(loss_weights), str(path)]):
        asked = SimpleNamespace(loss_weights=files, **given)
        assert check_loss_network(asked).padding == padding
    objective = Objective(loss_network=str(path), **given | {"style_layers": ("relu1_1",)})
    styles = read_styles(style_files)
    assert objective.perceptual(styles, torch.device("cpu")).loss_network.padding == padding
