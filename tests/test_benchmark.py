"""Tests of scripts/benchmark.py; none asserts a speed."""

import argparse
import json
import os
import re
import sys

import pytest
import torch

from fst.networks.transformer import TransformerNet
from fst.runtime.memory import best_precision


@pytest.fixture(scope="module")
def processes(load_script):
    return load_script("benchmark_processes")


@pytest.fixture(scope="module")
def benchmark(load_script):
    return load_script("benchmark")


@pytest.fixture(scope="module")
def networks(load_script):
    return load_script("benchmark_networks")


@pytest.fixture(scope="module")
def gatys(load_script):
    return load_script("benchmark_gatys")


@pytest.fixture(autouse=True)
def _keep_global_state():
    threads, random_state = torch.get_num_threads(), torch.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(random_state)


@pytest.mark.parametrize("size", [(32, 32), (64, 48), (36, 44)])
@pytest.mark.parametrize("width", [0.125, 0.5])
def test_the_plain_layers_equal_the_transformer_network_at_equal_weights(networks, size, width):
    torch.manual_seed(0)
    network = TransformerNet(1, width, num_blocks=2)
    for name, parameter in network.named_parameters():
        if name.endswith(("gamma", "beta")):
            torch.nn.init.normal_(parameter)
    baseline = networks.PlainTransformer(width, num_blocks=2)
    networks.copy_weights(network, baseline)
    photos = torch.rand(2, 3, *size)
    with torch.no_grad():
        expected = network(photos, torch.ones(2, 1))
        torch.testing.assert_close(baseline(photos), expected, atol=1e-4, rtol=0)


def test_plain_baseline_has_the_parameters_of_the_pytorch_example(networks):
    # Counted by hand: convolutions with biases 1,676,035, norms of all but the last 3,200.
    assert sum(p.numel() for p in networks.BaselineNet().parameters()) == 1_679_235


def test_loss_networks_have_the_channels_of_vgg(networks):
    network = networks.random_loss_network("vgg16", "relu4_3")
    assert network.layers[-1] == "relu4_3"
    assert network.convs["relu4_3"].weight.shape == (512, 512, 3, 3)


def test_baselines_convolve_by_torch_alone(networks, gatys, monkeypatch):
    """What fst has of its own to be faster must not speed up what it is held against."""
    args = argparse.Namespace(batch_size=1, size=32, width=0.125)
    baselines = [networks.baseline_step(args), next(iter(networks.loss_cases(args).values()))]
    photo = torch.rand(1, 3, 32, 32)
    vgg19 = gatys.classical_network(None, photo)
    baselines.append(lambda: gatys.classical_descent(vgg19, photo, photo, 2, lambda image: None))
    monkeypatch.setattr("fst.networks.winograd.FEWEST_TILES", 1)
    monkeypatch.setattr("fst.networks.winograd._Winograd", None)
    for baseline in baselines:
        baseline()
    with pytest.raises(AttributeError):  # would have been noticed
        networks.random_loss_network("vgg16", "relu2_1")(photo, ["relu2_1"])


def table(text):
    """Cells of the rows of a Markdown table, by heading."""
    lines = [re.split(r" *\| *", line)[1:-1] for line in text.splitlines() if line[:1] == "|"]
    return [dict(zip(lines[0], row, strict=True)) for row in lines[2:]]


def test_train_prints_a_ratio_per_row(benchmark, capsys, tmp_path):
    options = ["--size", "32", "--width", "0.125", "--repeats", "1", "--batch-size", "2"]
    assert benchmark.main(["train", *options, "--json", str(tmp_path / "out.json")]) == 0
    out = capsys.readouterr().out
    rows = table(out)
    assert len(rows) == 5 and all(float(row["ratio"]) > 0 for row in rows)
    assert rows[0]["case"].startswith("baseline") and float(rows[0]["ratio"]) == 1
    assert benchmark.BASELINE in out and torch.__version__ in out
    saved = json.loads((tmp_path / "out.json").read_text())
    assert saved["results"]["train"][1]["case"] == rows[1]["case"]


def test_infer_gives_the_same_picture_as_the_baseline(benchmark, capsys):
    options = ["--sizes", "32", "64", "--width", "0.125", "--repeats", "1"]
    assert benchmark.main(["infer", *options]) == 0
    rows = table(capsys.readouterr().out)
    cases = 4 if benchmark.best_precision("cpu") == "bf16-mixed" else 3
    assert len(rows) == 2 * cases and all(float(row["ratio"]) > 0 for row in rows)
    for row in rows:
        if "bf16" not in row["case"]:
            assert float(row["max difference"]) < 1e-4
            assert float(row["share beyond 1/255"]) == 0


def test_a_profile_shares_out_all_of_the_time(benchmark, capsys):
    options = ["--size", "128", "--sizes", "128", "--width", "1", "--repeats", "1"]
    assert benchmark.main(["profile", *options, "--batch-size", "1"]) == 0
    rows = table(capsys.readouterr().out)
    assert len({row["case"] for row in rows}) == 4
    for case in {row["case"] for row in rows}:
        shares = {row["part"]: float(row["share"]) for row in rows if row["case"] == case}
        assert sum(shares.values()) == pytest.approx(1, abs=0.01)
        assert {"convolutions", "norms", "the rest"} <= set(shares)
        # Winograd's way is one of fp32, in which not every processor trains.
        in_fp32 = case.startswith("painting") or best_precision("cpu") == "32-true"
        assert in_fp32 == ("Winograd convolutions" in shares)


def test_every_operator_has_one_place_in_the_profile(load_script):
    part_of = load_script("benchmark_profile").part_of
    assert part_of("aten::mkldnn_convolution") == "convolutions"
    assert part_of("aten::bmm", "_WinogradBackward") == "Winograd convolutions"
    assert part_of("aten::mkldnn_convolution", "_Winograd") == "convolutions"
    assert part_of("aten::bmm", "") == "Gram and other products"
    assert part_of("aten::native_batch_norm") == "norms"
    assert part_of("aten::relu_") == "the rest"


def test_cases_take_turns(benchmark):
    order = []
    cases = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    assert benchmark.interleaved(cases, repeats=3, warmup=1).keys() == {"a", "b"}
    assert order == ["a", "b"] * 4
    order.clear()
    benchmark.interleaved(cases, repeats=2, warmup=1, settle=True)
    assert order == ["a", "b"] + ["a", "a", "b", "b"] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_sees_a_tensor_that_is_gone(processes):
    # The peak outlives the tensor, so it is at least that above what there was before.
    before = processes.resident_mib("VmRSS")
    torch.ones(64 * 2**18).sum()  # 64 MiB
    assert processes.resident_mib("VmHWM") - before > 60


def test_a_failing_process_is_a_one_line_error(processes):
    with pytest.raises(processes.FstError, match="no such thing"):
        processes.whole_process([sys.executable, "-c", "raise SystemExit('no such thing')"], ".")


def test_a_whole_process_is_measured_with_what_it_starts(processes, tmp_path):
    child = "bytearray(300 << 20); sum(range(3_000_000))"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    held = bytearray(500 << 20)  # of the process that measures: not counted
    for code in (child, parent):
        wall, cpu, peak = processes.whole_process([sys.executable, "-c", code], str(tmp_path))
        assert 300 < peak < 400 and 0 < cpu < wall + 0.1
    assert len(held) == 500 << 20


def test_processes_are_measured_beside_another_program(benchmark, monkeypatch, tmp_path):
    every = benchmark.benchmark_processes.process_commands

    def without_training(*args):
        return {name: line for name, line in every(*args).items() if "train" not in name}

    monkeypatch.setattr(benchmark.benchmark_processes, "process_commands", without_training)
    peer = f"{sys.executable} -c pass {{input}} {{output}}"
    argv = ["processes", "--images", "2", "--repeats", "1", "--peer-command", peer]
    argv += ["--other-python", os.path.relpath(sys.executable)]
    assert benchmark.main([*argv, "--json", str(tmp_path / "out.json")]) == 0
    rows = json.loads((tmp_path / "out.json").read_text())["results"]["processes"]
    by_name = {row["case"]: row for row in rows}
    assert by_name["import torch"]["of import torch"] == 1
    assert by_name["fst-infer, one photo, other build"]["peak MiB"] > 50
    theirs = f"{sys.executable.rpartition('/')[2]}, 2 photos"
    assert by_name[theirs]["processor s"] < by_name["fst-infer, 2 photos"]["processor s"]


@pytest.mark.parametrize("size", ["30", "34", "x"])
def test_sizes_that_the_baseline_cannot_take_are_refused(benchmark, size, capsys):
    with pytest.raises(SystemExit) as stop:
        benchmark.main(["train", "--size", size])
    assert stop.value.code == 2
    assert "multiple of 4" in capsys.readouterr().err or size == "x"


def test_layers_and_losses_are_held_against_the_first(benchmark, capsys):
    assert benchmark.main(["layers", "--size", "32", "--repeats", "1"]) == 0
    rows = table(capsys.readouterr().out)
    assert [float(row["ratio"]) for row in rows[::2]] == [1] * 13 and len(rows) == 26
    assert len({row["case"] for row in rows[::2]}) == 13
    assert benchmark.main(["loss", "--size", "32", "--repeats", "1", "--batch-size", "1"]) == 0
    assert len(table(capsys.readouterr().out)) == 3


def test_bands_are_held_against_the_whole(benchmark, load_script, capsys, monkeypatch):
    streaming = load_script("benchmark_streaming")
    monkeypatch.setattr(streaming, "SIZES", [(61, 83)])
    monkeypatch.setattr(streaming, "BANDS_PX", [16, 64])
    monkeypatch.setitem(benchmark.COMMANDS, "streaming", streaming.run_streaming)
    words = ["streaming", "--repeats", "1", "--megapixels", "0.02", "--limit", "3"]
    assert benchmark.main(words) == 0
    out = capsys.readouterr().out
    rows = table(out)
    assert "Resident MiB of 0.02 megapixels" in out and float(rows[-1]["peak MiB"]) > 100
    assert all(float(row["max difference x 255"]) < 0.1 for row in rows[:3])
    arithmetic = [float(row["arithmetic of one forward"]) for row in rows[:2]]
    assert arithmetic[0] > arithmetic[1] > 1.12  # narrow bands share more rows


def test_cost_grows_with_pixels_and_files_with_styles(load_script):
    growth = load_script("benchmark_growth")
    growth.PIXELS, growth.STYLES, growth.IMAGES = [32, 64], [1, 16], [1, 2]
    growth.FILES = 2
    rows = growth.run_growth(argparse.Namespace(repeats=1))
    assert [row["case"][:2] for row in rows] == ["1 ", "1 ", "1 ", "2 ", "2 ", "2 "]
    assert rows[2]["model file KB"] > rows[0]["model file KB"] == rows[1]["model file KB"]


def test_the_floor_counts_multiplications_and_additions(load_script):
    timing = load_script("benchmark_timing")
    x = torch.rand(2, 3, 10, 10)
    kernel = torch.rand(4, 3, 3, 3)
    assert timing.flops_of(lambda: torch.conv2d(x, kernel)) == 2 * 2 * 4 * 3 * 9 * 8 * 8
    total, a, b = torch.zeros(5, 2, 4), torch.rand(5, 2, 3), torch.rand(5, 3, 4)
    assert timing.flops_of(lambda: total.baddbmm_(a, b)) == 2 * 5 * 2 * 3 * 4
    assert timing.peak_flops(1) > 1e8


# ---- gatys ------------------------------------------------------------------------------------


def test_gatys_rows_hold_fst_against_the_classical_recipe(benchmark, capsys, loss_weights):
    options = ["--shapes", "48x64", "--evaluations", "6", "--judge", str(loss_weights)]
    assert benchmark.main(["gatys", *options]) == 0
    rows = table(capsys.readouterr().out)
    assert [row["case"] for row in rows] == ["baseline, 64x48 px", "fst, 64x48 px"]
    assert float(rows[0]["speed ratio"]) == float(rows[0]["time ratio"]) == 1
    assert rows[0]["evaluations"] == "6"


def test_the_classical_network_has_full_width_and_mean_activations_of_one(gatys):
    photo = torch.rand(1, 3, 64, 64)
    network = gatys.classical_network(None, photo)
    assert network.convs["relu5_1"].weight.shape == (512, 512, 3, 3)
    for features in network(photo, ("relu1_1", "relu4_2", "relu5_1")).values():
        assert features.mean().item() == pytest.approx(1, rel=1e-3)


def test_the_classical_recipe_descends(gatys):
    torch.manual_seed(0)
    photo, style = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32).round()
    network, seen = gatys.classical_network(None, photo), []
    gatys.classical_descent(network, photo, style, 15, seen.append)

    def distance(image):
        flat = [network(i, ["relu1_1"])["relu1_1"].flatten(2) for i in (image, style)]
        first, second = (f @ f.mT / f.shape[2] for f in flat)
        return (first - second).norm().item()

    assert distance(seen[-1]) < 0.7 * distance(seen[0])


def test_time_to_a_distance_is_that_of_the_first_evaluation_there(gatys):
    record = gatys.Record(None)
    record.seconds = [2.0, 1.0, 1.0]
    record.judged = {1: (0.9, 0.0), 2: (0.5, 0.1), 3: (0.4, 0.2)}
    assert record.reaches(0.5) == (2.0, 0.1)
    assert record.reaches(0.1)[0] == float("inf")


@pytest.mark.parametrize("shape", ["48", "8x64", "axb"])
def test_wrong_shapes_are_a_usage_error(benchmark, shape, capsys):
    with pytest.raises(SystemExit) as stop:
        benchmark.main(["gatys", "--shapes", shape])
    assert stop.value.code == 2 and "256x384" in capsys.readouterr().err


def test_another_packages_network_takes_its_turn(benchmark, tmp_path, capsys):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    from fst.export.files import onnx_bytes

    peer = tmp_path / "peer.onnx"
    peer.write_bytes(onnx_bytes(TransformerNet(3, 0.125, 1).eval(), {}))
    argv = ["onnx", "--sizes", "32", "--width", "0.125", "--repeats", "1", "--peer"]
    assert benchmark.main([*argv, str(peer)]) == 0
    assert "| onnxruntime, peer, 32 px |" in capsys.readouterr().out
    assert benchmark.main([*argv, str(tmp_path / "none.onnx")]) == 2
    assert "none.onnx: no such file" in capsys.readouterr().err


def test_exported_networks_paint_as_torch_does(benchmark, capsys):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    assert benchmark.main(["onnx", "--sizes", "32", "--width", "0.25", "--repeats", "1"]) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if "px |" in line]
    names = ["as fst paints", "as exported", "onnxruntime", "onnxruntime fp16"]
    assert [row[1].split(", width")[0].split(", ")[-1].strip() for row in rows] == names
    apart = [float(row[-2]) for row in rows]
    assert apart[0] == 0 and max(apart[1:3]) < 1e-4 < apart[3] < 0.02


def test_what_scaling_is_reckoned_with_is_that_of_the_network(load_script):
    scaling = load_script("measure_scaling")
    megabytes, gflop = scaling.communicated(), scaling.arithmetic()
    network = TransformerNet(16, 0.5)
    shipped = 4 * sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert megabytes["MB per step, width 0.5, 16 styles"] == pytest.approx(shipped)
    # At least VGG-16 to relu4_3 forward for the picture and the photo, and back once.
    at_least = 3 * 2 * 278_208 * 256**2 / 1e9
    assert gflop["GFLOP an image, width 1, VGG-16"] > at_least
    assert gflop["GFLOP an image, as shipped"] < gflop["GFLOP an image, width 1, VGG-16"] / 2
