"""The loss network gives torchvision's VGG features by name and refuses files that are no VGG."""

import hashlib
import http.server
import os
import pickle
import threading
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torchvision.models import VGG16_Weights, VGG19_Weights, vgg

from fst.errors import FstError
from fst.networks.loss_network import (
    CONVS_PER_STAGE,
    LossNetwork,
    layer_names,
    load_loss_network,
    load_loss_networks,
)

TORCHVISION_CONFIG = {"vgg16": vgg.cfgs["D"], "vgg19": vgg.cfgs["E"]}
TOPOLOGIES = tuple(CONVS_PER_STAGE)
SHARED = Path(__file__).parents[2] / "shared"


def torchvision_features(topology, divide_by=32):
    """The convolutional part of torchvision's VGG with random weights, slimmer."""
    torch.manual_seed(0)
    config = [c if c == "M" else c // divide_by for c in TORCHVISION_CONFIG[topology]]
    features = vgg.make_layers(config).eval().requires_grad_(False)
    for module in features:
        if isinstance(module, torch.nn.Conv2d):
            module.bias.normal_(std=0.1)  # torchvision starts with zeros
    return features


def state_dict_of(topology="vgg19", divide_by=32, layers=None):
    """A state_dict with torchvision's names, `layers` convolutions deep."""
    state = torchvision_features(topology, divide_by).state_dict()
    kept = list(layer_names(topology).values())[:layers]
    return {f"features.{k}": v for k, v in state.items() if int(k.split(".")[0]) in kept}


def normalised(images):
    """ImageNet normalisation as torchvision documents it."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return torch.stack([(images[:, c] - mean[c]) / std[c] for c in range(3)], dim=1)


def photos(batch=2, height=48, width=36):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def hooked_features(features, images):
    """What torchvision's own modules put out after each ReLU, by index of the convolution."""
    outputs = {}
    for index, module in enumerate(features):
        if isinstance(module, torch.nn.ReLU):
            module.register_forward_hook(
                lambda m, _, out, index=index: outputs.__setitem__(index - 1, out.clone())
            )
    features(normalised(images))
    return outputs


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_layer_names_point_at_torchvision_convolutions(topology):
    features = torchvision_features(topology)
    expected, stage, conv = {}, 1, 0
    for index, module in enumerate(features):
        if isinstance(module, torch.nn.Conv2d):
            conv += 1
            expected[f"relu{stage}_{conv}"] = index
        elif isinstance(module, torch.nn.MaxPool2d):
            stage, conv = stage + 1, 0
    assert layer_names(topology) == expected


@pytest.mark.parametrize("divide_by", [32, 1])
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_features_equal_those_of_torchvision(topology, divide_by):
    images = photos(1, 32, 32) if divide_by == 1 else photos()
    features = torchvision_features(topology, divide_by)
    network = LossNetwork({f"features.{k}": v for k, v in features.state_dict().items()}, topology)
    got = network(images, network.layers)
    expected = hooked_features(features, images)
    assert list(got) == list(layer_names(topology))
    for name, index in layer_names(topology).items():
        torch.testing.assert_close(got[name], expected[index], rtol=1e-4, atol=1e-5)


def test_average_pooling_and_reflect_padding_equal_the_naive_form():
    state = state_dict_of(layers=3)
    network = LossNetwork(state, padding="reflect", pooling="avg")
    x = normalised(photos())
    for index in (0, 2, 5):
        x = F.avg_pool2d(x, 2) if index == 5 else x
        x = F.pad(x, (1, 1, 1, 1), mode="reflect")
        x = F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"]).relu()
    torch.testing.assert_close(network(photos(), ["relu2_1"])["relu2_1"], x)


def test_a_truncated_file_gives_its_layers():
    network = LossNetwork(state_dict_of(layers=5))
    assert network.layers == ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1")
    # 512 px wide in stages 4 and 5, 256 in stage 3: an eighth of 32 is 8.
    assert network(photos(), ["relu3_1"])["relu3_1"].shape == (2, 8, 12, 9)


def test_a_missing_layer_is_named_with_those_that_can_be_had():
    network = LossNetwork(state_dict_of(layers=2))
    with pytest.raises(FstError, match=r"no layer relu3_1.*choose among relu1_1, relu1_2"):
        network(photos(), ["relu1_1", "relu3_1"])
    with pytest.raises(FstError, match="relu9_9"):
        network.require(["relu9_9"])


def test_it_runs_no_deeper_than_asked():
    network = LossNetwork(state_dict_of())
    ran = []
    for name, conv in network.convs.items():
        conv.register_forward_hook(lambda *_, name=name: ran.append(name))
    network(photos(), ["relu2_1", "relu1_1"])
    assert ran == ["relu1_1", "relu1_2", "relu2_1"]


def test_it_stays_in_eval_mode_and_frozen():
    network = LossNetwork(state_dict_of(layers=2))
    torch.nn.Sequential(network).train()
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_gradients_reach_the_image_and_not_the_weights():
    network, images = LossNetwork(state_dict_of(layers=3)), photos().requires_grad_()
    network(images, ["relu2_1"])["relu2_1"].sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_weights_given_are_copied():
    state = state_dict_of(layers=1)
    network = LossNetwork(state)
    before = network(photos(), ["relu1_1"])["relu1_1"]
    state["features.0.weight"].zero_()
    assert torch.equal(network(photos(), ["relu1_1"])["relu1_1"], before)


@pytest.mark.parametrize("option", ["topology", "padding", "pooling"])
def test_an_unknown_option_is_refused(option):
    with pytest.raises(FstError, match="'odd' is unknown: use"):
        LossNetwork(state_dict_of(layers=1), **{option: "odd"})


# Files


def same_features(network, state, topology="vgg19", **options):
    expected = LossNetwork(state, topology, **options)
    layers = expected.layers
    got = network(photos(), network.layers)
    reference = expected(photos(), layers)
    return network.layers == layers and all(torch.equal(got[n], reference[n]) for n in layers)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_file_gives_the_network_that_was_saved(tmp_path, topology, suffix):
    state, path = state_dict_of(topology), tmp_path / f"weights{suffix}"
    state_with_classifier = {**state, "classifier.0.weight": torch.ones(2, 2)}
    (save_file if suffix == ".safetensors" else torch.save)(state_with_classifier, path)
    network = load_loss_network(path)
    assert network.topology == topology
    assert same_features(network, state, topology)


def test_safetensors_metadata_sets_padding_pooling_and_topology(tmp_path):
    state, path = state_dict_of(layers=4), tmp_path / "lite.safetensors"
    save_file(state, path, {"topology": "vgg16", "padding": "reflect", "pooling": "avg"})
    network = load_loss_network(str(path))
    assert (network.topology, network.padding, network.pooling) == ("vgg16", "reflect", "avg")
    assert same_features(network, state, "vgg16", padding="reflect", pooling="avg")
    assert not same_features(network, state, "vgg16", pooling="avg")


def test_half_precision_files_are_widened(tmp_path):
    state, path = state_dict_of(layers=3), tmp_path / "half.safetensors"
    half = {key: value.half() for key, value in state.items()}
    save_file(half, path)
    assert same_features(load_loss_network(path), {k: v.float() for k, v in half.items()})


class Payload:
    """Makes a folder when unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
@pytest.mark.parametrize("writer", ["torch", "torch legacy", "pickle"])
def test_a_file_with_a_payload_is_refused_and_not_run(tmp_path, writer, suffix):
    path, ran = tmp_path / f"evil{suffix}", tmp_path / "ran"
    contents = {**state_dict_of(layers=1), "payload": Payload(ran)}
    if writer == "pickle":
        path.write_bytes(pickle.dumps(contents))
    else:
        torch.save(contents, path, _use_new_zipfile_serialization=writer == "torch")
    with pytest.raises(FstError, match=f"evil{suffix}"):
        load_loss_network(path)
    assert not ran.exists()


def broken_state(kind):
    state = state_dict_of(layers=4)
    if kind == "nan":
        state["features.2.weight"][0, 0, 0, 0] = float("nan")
    elif kind == "infinite":
        state["features.5.bias"][0] = float("inf")
    elif kind == "wrong shape":
        state["features.2.weight"] = torch.ones(4, 9, 3, 3)
    elif kind == "not a kernel":
        state["features.0.weight"] = torch.ones(4, 3)
    elif kind == "five wide":
        state["features.0.weight"] = torch.ones(2, 3, 5, 5)
    elif kind == "no bias":
        del state["features.2.bias"]
    elif kind == "wrong bias":
        state["features.2.bias"] = torch.ones(99)
    elif kind == "other names":
        state = {"layer1.weight": torch.ones(2, 2)}
    elif kind == "empty":
        state = {}
    return state


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("nan", "relu1_2.*NaN"),
        ("infinite", "relu2_1.*infinite"),
        ("wrong shape", "relu1_2.*4, 9, 3, 3"),
        ("not a kernel", "relu1_1.*4, 3"),
        ("five wide", "relu1_1.*2, 3, 5, 5"),
        ("no bias", "relu1_2 has no bias"),
        ("wrong bias", "relu1_2 has no bias that fits"),
        ("other names", "no VGG convolution.*layer1.weight"),
        ("empty", "no VGG convolution.*nothing"),
    ],
)
def test_weights_that_are_no_vgg_are_refused_by_name(tmp_path, suffix, kind, said):
    path = tmp_path / f"bad{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(broken_state(kind), path)
    with pytest.raises(FstError, match=f"bad{suffix}: .*{said}"):
        load_loss_network(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kind", ["empty", "noise", "truncated", "html"])
def test_broken_files_are_refused_by_name(tmp_path, suffix, kind):
    path = tmp_path / f"bad{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(state_dict_of(layers=3), path)
    whole = path.read_bytes()
    noise = bytes((i * 97 + 13) % 256 for i in range(2000))
    damaged = {"empty": b"", "noise": noise, "truncated": whole[: len(whole) // 2]}
    path.write_bytes(damaged.get(kind, b"<!doctype html><title>404</title>"))
    with pytest.raises(FstError, match=f"bad{suffix}: not a readable weights file") as caught:
        load_loss_network(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("contents", [[1, 2], torch.ones(3), {1: torch.ones(3)}, {"a": "text"}])
def test_torch_files_of_something_else_are_refused_by_name(tmp_path, contents):
    path = tmp_path / "other.pt"
    torch.save(contents, path)
    with pytest.raises(FstError, match=r"other.pt: "):
        load_loss_network(path)


@pytest.mark.parametrize("key", ["topology", "padding", "pooling"])
def test_unknown_metadata_is_refused_by_name(tmp_path, key):
    path = tmp_path / "bad.safetensors"
    save_file(state_dict_of(layers=2), path, {key: "odd"})
    with pytest.raises(FstError, match=r"bad.safetensors: .*'odd' is unknown"):
        load_loss_network(path)


@pytest.mark.parametrize("name", ["missing.pt", "vgg11", "."])
def test_a_missing_file_is_named_with_what_can_be_given(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FstError, match=r"no such loss network; give .*vgg16, vgg19") as caught:
        load_loss_network(name)
    assert str(caught.value).startswith(name)


# Pretrained weights, from a server on this machine that plays torchvision's


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve a folder: gives (folder, address, list of paths asked for, stop)."""
    folder, asked = tmp_path / "served", []
    folder.mkdir()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            asked.append(self.path)

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def stop():
        if thread.is_alive():
            httpd.shutdown()
            thread.join()
            httpd.server_close()

    yield folder, f"http://127.0.0.1:{httpd.server_port}", asked, stop
    stop()


def serve_weights(server, monkeypatch, name, state, digest=None):
    """Put a state_dict on the server and make it torchvision's address of `name`."""
    folder, address, _, _ = server
    temporary = folder / "weights.pth"
    torch.save(state, temporary)
    digest = digest or hashlib.sha256(temporary.read_bytes()).hexdigest()[:8]
    path = temporary.rename(folder / f"{name}-{digest}.pth")
    weights = {"vgg16": VGG16_Weights, "vgg19": VGG19_Weights}[name].IMAGENET1K_V1
    monkeypatch.setattr(weights.value, "url", f"{address}/{path.name}")


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_pretrained_weights_are_downloaded_once_and_cached(server, monkeypatch, topology):
    state = state_dict_of(topology)
    serve_weights(server, monkeypatch, topology, state)
    _, _, asked, stop = server
    network = load_loss_network(topology)
    assert network.topology == topology and same_features(network, state, topology)
    assert len(asked) == 1
    stop()
    assert same_features(load_loss_network(topology), state, topology)


def test_a_download_with_another_hash_is_refused_and_not_cached(server, monkeypatch, tmp_path):
    serve_weights(server, monkeypatch, "vgg16", state_dict_of("vgg16"), digest="0badc0de")
    for _ in range(2):
        with pytest.raises(FstError, match=r"vgg16 weights.*hash.*give a file"):
            load_loss_network("vgg16")
    assert not list((tmp_path / "torch").rglob("*.pth"))


@pytest.mark.parametrize("failure", ["no server", "no file"])
def test_no_network_gives_the_way_out(server, monkeypatch, failure):
    serve_weights(server, monkeypatch, "vgg19", state_dict_of())
    folder, _, _, stop = server
    if failure == "no server":
        stop()
    else:
        next(folder.iterdir()).unlink()
    with pytest.raises(FstError, match=r"vgg19 weights.*connect once.*give a file") as caught:
        load_loss_network("vgg19")
    assert "\n" not in str(caught.value)


def test_the_shipped_network_has_a_style_layer_in_every_stage():
    network = load_loss_network("vgg16-lite")
    assert network.topology == "vgg16"
    layers = [f"relu{stage}_1" for stage in range(1, 6)]
    for features in network(photos(), layers).values():
        assert torch.isfinite(features).all() and features.max() > 0


def test_the_loss_network_of_before_is_refused_with_the_one_of_now():
    with pytest.raises(FstError, match="vgg19-lite is no longer shipped: use vgg16-lite"):
        load_loss_network("vgg19-lite")


def test_the_real_shallow_vgg19_loads():
    path = SHARED / "weights" / "vgg19_to_relu3_1.safetensors"
    if not path.is_file():
        pytest.skip("the shared weights are not on this machine")
    network = load_loss_network(path)
    assert network.topology == "vgg19" and network.layers[-1] == "relu3_1"
    assert [conv.out_channels for conv in network.convs.values()] == [64, 64, 128, 128, 256]


def test_pooling_and_padding_given_outweigh_the_file(tmp_path):
    path = tmp_path / "slim.safetensors"
    weight = {"features.0.weight": torch.randn(4, 3, 3, 3), "features.0.bias": torch.zeros(4)}
    save_file(weight, path, {"padding": "reflect", "pooling": "max"})
    network = load_loss_network(path, pooling="avg", padding="zeros")
    assert (network.padding, network.pooling) == ("zeros", "avg")
    combined = load_loss_networks([path], "avg", "zeros")
    assert (combined.padding, combined.pooling) == ("zeros", "avg")
