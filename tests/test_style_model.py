"""The style model file: what is stored comes back, and what is not one is refused."""

import json
import os
import pickle
import resource

import pytest
import torch
from safetensors.torch import save_file

from fst.errors import FstError
from fst.io.atomic import write_atomically
from fst.networks.transformer import TransformerNet
from fst.style_model.format import describe, load_style_model, save_style_model

STYLES = [{"name": name, "images": [f"{name}.jpg"]} for name in ("wave", "rain", "night")]


SMALL = {"num_styles": 3, "width": 0.125, "num_blocks": 1}


def _network(seed: int = 0) -> TransformerNet:
    torch.manual_seed(seed)
    network = TransformerNet(**SMALL)
    for parameter in network.parameters():  # else gamma is 1 and beta 0 for every style
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def _metadata(**changes) -> dict[str, str]:
    whole = describe(_network(), STYLES, {}) | changes
    return {"fst": json.dumps(whole)}


@pytest.fixture
def model(tmp_path):
    network = _network()
    return save_style_model(tmp_path / "model.safetensors", network, describe(network, STYLES, {}))


@pytest.mark.parametrize("margin", [0, 4, 8])
def test_weights_and_metadata_come_back_bit_for_bit(tmp_path, margin):
    network = _network()
    network.margin = margin
    metadata = describe(network, STYLES, {"steps": 7, "lr": 0.1})
    path = save_style_model(tmp_path / "new folder" / "m.safetensors", network, metadata)
    loaded, read_metadata = load_style_model(path)
    assert read_metadata == metadata and loaded.margin == margin
    assert ("margin" in metadata["architecture"]) == bool(margin)  # older files have none
    stored = network.state_dict()
    assert loaded.state_dict().keys() == stored.keys()
    assert all(torch.equal(tensor, stored[key]) for key, tensor in loaded.state_dict().items())


def test_the_loaded_network_is_frozen_and_in_eval_mode(model):
    network, _ = load_style_model(model)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}


def test_half_precision_weights_are_read_as_float32(tmp_path):
    tensors = {key: tensor.half() for key, tensor in _network().state_dict().items()}
    save_file(tensors, tmp_path / "half.safetensors", _metadata())
    loaded, _ = load_style_model(tmp_path / "half.safetensors")
    for key, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, tensors[key].float())


def test_the_file_has_the_rights_of_any_new_file(model, tmp_path):
    (tmp_path / "plain").touch()
    assert os.stat(model).st_mode == os.stat(tmp_path / "plain").st_mode


def test_a_failed_replace_keeps_the_old_file_and_leaves_no_other(model, monkeypatch):
    before = model.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(FstError, match=r"model\.safetensors: cannot write it .No space"):
        save_style_model(model, _network(seed=1), describe(_network(), STYLES, {}))
    assert model.read_bytes() == before
    assert os.listdir(model.parent) == [model.name]


def test_an_interrupted_write_leaves_no_other_file(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", b"content")
    assert os.listdir(tmp_path) == []


def test_weights_that_are_not_finite_are_neither_written_nor_read(model):
    network = _network()
    with torch.no_grad():
        network.up.conv.weight[0, 0, 0, 0] = float("nan")
    before = model.read_bytes()
    with pytest.raises(FstError, match=r"not written, up\.conv\.weight holds NaN"):
        save_style_model(model, network, describe(network, STYLES, {}))
    assert model.read_bytes() == before
    save_file(network.state_dict(), model, _metadata())
    with pytest.raises(FstError, match="NaN or infinite weights; take an earlier file"):
        load_style_model(model)


def _checkpoint(path, **changes):
    network = _network()
    weights = {f"network.{key}": tensor for key, tensor in network.state_dict().items()}
    whole = {
        "state_dict": weights | {"perceptual.target": torch.zeros(2)},
        "style_model": describe(network, STYLES, {}),
        "global_step": 5,
    }
    torch.save(whole | changes, path)
    return path


@pytest.mark.parametrize("name", ["last.ckpt", "LAST.CKPT"])
def test_a_training_checkpoint_gives_its_network(tmp_path, name):
    network, metadata = load_style_model(_checkpoint(tmp_path / name))
    assert [style["name"] for style in metadata["styles"]] == ["wave", "rain", "night"]
    stored = _network().state_dict()
    assert all(torch.equal(tensor, stored[key]) for key, tensor in network.state_dict().items())


class _Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("writer", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))])
@pytest.mark.parametrize("name", ["evil.ckpt", "evil.safetensors"])
def test_code_in_a_pickle_is_not_run(tmp_path, name, writer):
    path = tmp_path / name
    writer({"state_dict": {}, "style_model": _Payload(tmp_path / "created")}, path)
    with pytest.raises(FstError) as caught:
        load_style_model(path)
    assert not (tmp_path / "created").exists()
    assert "weights_only" not in str(caught.value)  # torch advises to switch its guard off
    pickle.loads(pickle.dumps(_Payload(tmp_path / "created"))).close()
    assert (tmp_path / "created").exists()  # the payload itself works


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html>", b"\xff" * 64], ids=["empty", "html", "ff"]
)
@pytest.mark.parametrize("name", ["broken.safetensors", "broken.ckpt"])
def test_a_file_of_other_content_is_refused_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FstError, match=name) as caught:
        load_style_model(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [4, 100, 3000, -1])
def test_a_truncated_file_is_refused(model, kept):
    model.write_bytes(model.read_bytes()[:kept])
    with pytest.raises(FstError, match="not a readable style model"):
        load_style_model(model)


def test_a_truncated_checkpoint_is_refused(tmp_path):
    path = _checkpoint(tmp_path / "last.ckpt")
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(FstError, match=r"last\.ckpt: "):
        load_style_model(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 4}, "format 4, this version reads 3: upgrade fst"),
        (
            {"format": 1, "fst_version": "0.1.0"},
            "format 1, this version reads 3: its network has another shape; paint with fst 0.1.0",
        ),
        ({"styles": STYLES[:2]}, "3 styles but 2 names"),
        ({"styles": [{"name": 1}] * 3}, "3 styles but 3 names"),
        ({"styles": None}, "not a readable style model"),
        ({"styles": [1, 2, 3]}, "not a readable style model"),
        ({"architecture": {}}, "not a readable style model"),
        ({"architecture": {"num_styles": 3, "width": 0.25, "num_blocks": 1}}, "size mismatch"),
        *(
            ({"architecture": SMALL | {"margin": m}}, "margin of .* px: expected 0, 4, 8")
            for m in (-4, 2, 12, 4.0, True, "4", None)
        ),
    ],
)
def test_metadata_that_does_not_fit_is_refused(tmp_path, changes, message):
    save_file(_network().state_dict(), tmp_path / "m.safetensors", _metadata(**changes))
    with pytest.raises(FstError, match=message):
        load_style_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize("fst", [None, "[1]", "{", "null", "[" * 100_000])
def test_a_safetensors_file_without_our_metadata_is_refused(tmp_path, fst):
    metadata = None if fst is None else {"fst": fst}
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors", metadata)
    with pytest.raises(FstError, match=r"other\.safetensors: .*style model"):
        load_style_model(tmp_path / "other.safetensors")


def test_missing_and_extra_weights_are_refused(tmp_path):
    weights = _network().state_dict()
    save_file(weights | {"extra": torch.zeros(1)}, tmp_path / "extra.safetensors", _metadata())
    with pytest.raises(FstError, match="extra"):
        load_style_model(tmp_path / "extra.safetensors")
    weights.pop("conv_in.norm.beta")
    save_file(weights, tmp_path / "less.safetensors", _metadata())
    with pytest.raises(FstError, match=r"conv_in\.norm\.beta"):
        load_style_model(tmp_path / "less.safetensors")


@pytest.mark.parametrize(
    "sizes",
    [
        {"num_styles": 1, "width": 16.0, "num_blocks": 64},  # in bounds, yet 20 GB
        {"num_styles": 1, "width": 1e30, "num_blocks": 1},
        {"num_styles": 10**15, "width": 1.0, "num_blocks": 1},
        {"num_styles": 1, "width": 1.0, "num_blocks": 10**9},
        {"num_styles": -1, "width": float("nan"), "num_blocks": -1},
    ],
)
def test_silly_sizes_are_refused_without_taking_memory(tmp_path, sizes):
    path = tmp_path / "silly.safetensors"
    save_file({"x": torch.zeros(1)}, path, _metadata(architecture=sizes, styles=[{"name": "a"}]))
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FstError, match=r"silly\.safetensors"):
        load_style_model(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 200_000


@pytest.mark.parametrize("changes", [{"state_dict": None}, {"style_model": None}])
def test_a_checkpoint_of_other_shape_is_refused(tmp_path, changes):
    with pytest.raises(FstError, match=r"last\.ckpt: not a readable style model"):
        load_style_model(_checkpoint(tmp_path / "last.ckpt", **changes))


def test_a_checkpoint_of_another_program_is_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(FstError, match="not one of fst-train"):
        load_style_model(tmp_path / "other.ckpt")


@pytest.mark.parametrize("name", ["none.safetensors", ""])
def test_a_missing_file_and_a_folder_are_refused(tmp_path, name):
    with pytest.raises(FstError, match=r"no such model; give a \.safetensors style model"):
        load_style_model(tmp_path / name)
