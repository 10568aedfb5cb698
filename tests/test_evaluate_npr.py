"""scripts/evaluate_npr.py: the table of the benchmark; networks come from a stub of their hosts."""

import functools
import hashlib
import http.server
import json
import sys
import threading

import pytest
import torch
import torchvision
from conftest import SCRIPTS, smooth_field
from infer_inputs import save_model

from fst.io import images

sys.path.insert(0, str(SCRIPTS))  # as when a script runs: scripts import their neighbours
import evaluate_npr

sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three photos, two styles, one of them of two pictures, and paintings that are the photos."""
    top = tmp_path_factory.mktemp("npr")
    for name in ("photos", "styles", "styles/two", "painted"):
        (top / name).mkdir()
    for seed in range(3):
        picture = smooth_field(seed, 64, 80)
        picture.save(top / "photos" / f"p{seed}.png")
        for style in ("one", "two"):
            picture.save(top / "painted" / f"p{seed}_{style}.png")
    smooth_field(10, 70, 60).save(top / "styles" / "one.png")
    smooth_field(11, 60, 60).save(top / "styles" / "two" / "a.png")
    smooth_field(12, 90, 60).save(top / "styles" / "two" / "b.png")
    return top


def table(folder, *more):
    argv = ["--photos", folder / "photos", "--styles-dir", folder / "styles", "--size", 64]
    argv += ["--json", folder / "figures.json", *more]
    code = evaluate_npr.main([str(word) for word in argv])
    return json.loads((folder / "figures.json").read_text())["figures"] if code == 0 else None


def test_paintings_that_are_the_photos_have_an_ssim_of_1(folder, capsys):
    figures = table(folder, "--pictures", folder / "painted")
    assert figures == {name: {"SSIM": pytest.approx(1)} for name in ("one", "two", "all")}
    assert "| two | 1 |" in capsys.readouterr().out


def test_a_model_is_measured_in_the_styles_named(folder, tmp_path):
    model = save_model(tmp_path / "model.safetensors")
    from fst import Stylizer

    stylizer = Stylizer(model)
    name = stylizer.style_names[1]
    picture = f"{name}={folder / 'styles' / 'one.png'}"
    figures = table(folder, model, "--only", name, "--style", picture)
    photos = [images.load(path, 64) for path in sorted((folder / "photos").iterdir())]
    expected = [evaluate_npr.ssim(stylizer.stylize(p, name), p) for p in photos]
    assert figures[name]["SSIM"] == pytest.approx(sum(expected) / 3)
    assert figures[name]["SSIM"] < 0.99


def test_without_the_extra_its_name_is_told(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    assert table(folder, "--pictures", folder / "painted", "--networks") is None
    assert "pip install 'fst[eval]'" in capsys.readouterr().err


# ---- networks -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files of random weights for AlexNet and Inception."""
    inception = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    folder = tmp_path_factory.mktemp("hosts")
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:  # it cannot be made without weights
        patch.setattr(inception, "load_state_dict_from_url", lambda *args, **options: {})
        kind = inception.FeatureExtractorInceptionV3
        patch.setattr(kind, "load_state_dict", lambda *args, **options: None)
        torch.save(kind("x", ["64"]).state_dict(), folder / "inception.pth")
    torch.save(torchvision.models.alexnet().state_dict(), folder / "alexnet.pth")
    digest = hashlib.sha256((folder / "alexnet.pth").read_bytes()).hexdigest()[:8]
    (folder / "alexnet.pth").rename(folder / f"alexnet-{digest}.pth")
    return folder


@pytest.fixture
def hosts(weights, tmp_path, monkeypatch):
    """Their hosts, played on this machine."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=weights)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        alexnet = torchvision.models.AlexNet_Weights.DEFAULT
        (file,) = weights.glob("alexnet-*.pth")
        monkeypatch.setattr(alexnet.value, "url", f"{address}/{file.name}")
        module = sys.modules["torch_fidelity.feature_extractor_inceptionv3"]
        monkeypatch.setattr(module, "URL_INCEPTION_V3", f"{address}/inception.pth")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield monkeypatch
        server.shutdown()


def test_networks_are_fetched_and_measure(hosts, folder):
    hosts.setattr(evaluate_npr, "FID_FEATURES", 64)  # eigenvalues of 2,048 take a minute
    figures = table(folder, "--pictures", folder / "painted", "--networks")
    assert figures["one"]["LPIPS"] == pytest.approx(0, abs=1e-6)  # paintings that are the photos
    every = figures["all"]
    assert every["SIFID"] == pytest.approx((figures["one"]["SIFID"] + figures["two"]["SIFID"]) / 2)
    assert every["FID"] > 0
    assert every["ArtFID"] == pytest.approx(1 + every["FID"], rel=1e-5)
    (first, *_) = (images.load(path) for path in sorted((folder / "photos").iterdir()))
    lpips, fid = evaluate_npr.load_networks("cpu")
    assert lpips(first, first.flip(2)) > 1e-3
    assert evaluate_npr.sifid(fid, first, first) == pytest.approx(0, abs=1e-6)


def test_sifid_is_the_frechet_distance_of_the_first_features(hosts):
    _, fid = evaluate_npr.load_networks("cpu")
    seen = []
    fid.inception.MaxPool_1.register_forward_hook(lambda *args: seen.append(args[2]))
    first, second = (images.to_tensor(smooth_field(seed, 80, 64)) for seed in (1, 2))
    found = evaluate_npr.sifid(fid, first, second)
    (m, s), (n, t) = ((f.mean(1), torch.cov(f)) for f in (x[0].flatten(1).double() for x in seen))
    values, vectors = torch.linalg.eigh(s)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.mT
    cross = torch.linalg.eigvalsh(root @ t @ root).clamp_min(0).sqrt().sum()
    expected = (m - n).square().sum() + s.trace() + t.trace() - 2 * cross
    assert expected > 0
    assert found == pytest.approx(expected.item(), rel=1e-4)


def test_a_host_that_does_not_answer_is_told_in_a_line(hosts, folder, capsys):
    hosts.setattr(
        torchvision.models.AlexNet_Weights.DEFAULT.value, "url", "http://127.0.0.1:9/a-0.pth"
    )
    assert table(folder, "--pictures", folder / "painted", "--networks") is None
    error = capsys.readouterr().err.splitlines()[-1]
    assert "weights of AlexNet" in error and "connect once" in error
