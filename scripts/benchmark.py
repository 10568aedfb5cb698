"""Measure speed and memory against a named baseline, both in one run, taking turns.

    python scripts/benchmark.py train --threads 2
    python scripts/benchmark.py infer --sizes 256 512 1024
    python scripts/benchmark.py startup
    python scripts/benchmark.py memory
    python scripts/benchmark.py all --json benchmark.json

The baseline is the recipe of pytorch/examples fast_neural_style: one style, affine instance norm
and convolution biases, upsampling before a full-resolution convolution, VGG-16 to relu4_3 for
stylised image and photo alike, fp32, NCHW, eager. VGG weights are random: speed is the same.
Prints Markdown tables; times are medians, a ratio above 1 is in favour of fst.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fst import images
from fst.allocator import keep_freed_memory
from fst.errors import FstError
from fst.losses.perceptual import PerceptualLoss
from fst.networks.transformer import TransformerNet
from fst.networks.vgg import LossNetwork, layer_names, load_loss_network
from fst.precision import best_precision
from fst.stylize.style_model import describe, save_style_model, write_atomically
from fst.training.module import StyleTransferModule

BASELINE = "pytorch/examples fast_neural_style recipe, fp32 NCHW eager"
VGG_CHANNELS = (64, 128, 256, 512, 512)  # per stage; Simonyan & Zisserman 2015, table 1
STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
CONTENT_LAYER = "relu2_2"
CONTENT_WEIGHT, STYLE_WEIGHT = 1e5, 1e10
SHIPPED_WIDTH = 0.5  # the default of fst-train

Case = Callable[[], object]
Rows = list[dict[str, object]]

# ---- the baseline ------------------------------------------------------------------------------


class ConvNorm(nn.Sequential):
    """Reflect padding, convolution with bias, affine instance norm."""

    def __init__(self, c_in: int, c_out: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__(
            nn.ReflectionPad2d(kernel_size // 2),
            nn.Conv2d(c_in, c_out, kernel_size, stride),
            nn.InstanceNorm2d(c_out, affine=True),
        )


class Residual(nn.Module):
    """Two 3x3 convolutions around an identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = ConvNorm(channels, channels, 3), ConvNorm(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


class BaselineNet(nn.Sequential):
    """The network of pytorch/examples fast_neural_style; sides must be multiples of 4.

    Differs from it: with `like_ours` the last convolution is followed by instance norm and a
    sigmoid, so that `copy_weights` can make it the function that a `TransformerNet` is.
    """

    def __init__(self, width: float = 1.0, num_blocks: int = 5, like_ours: bool = False) -> None:
        c1, c2, c3 = (max(1, round(width * channels)) for channels in (32, 64, 128))
        last = ConvNorm(c1, 3, 9)
        super().__init__(
            *(ConvNorm(3, c1, 9), nn.ReLU()),
            *(ConvNorm(c1, c2, 3, stride=2), nn.ReLU()),
            *(ConvNorm(c2, c3, 3, stride=2), nn.ReLU()),
            *(Residual(c3) for _ in range(num_blocks)),
            *(nn.Upsample(scale_factor=2), ConvNorm(c3, c2, 3), nn.ReLU()),
            *(nn.Upsample(scale_factor=2), ConvNorm(c2, c1, 3), nn.ReLU()),
            *((last, nn.Sigmoid()) if like_ours else tuple(last)[:2]),
        )


@torch.no_grad()
def copy_weights(source: TransformerNet, target: BaselineNet) -> None:
    """Make `target`, built with `like_ours`, compute what `source` computes in style 0."""
    ours = [module for module in source.modules() if hasattr(module, "norm")]
    theirs = [module for module in target.modules() if isinstance(module, ConvNorm)]
    for module, (_, conv, norm) in zip(ours, theirs, strict=True):
        conv.weight.copy_(module.conv.weight)
        conv.bias.zero_()
        norm.weight.copy_(module.norm.gamma[0])
        norm.bias.copy_(module.norm.beta[0])


def random_loss_network(topology: str, deepest: str) -> LossNetwork:
    """A VGG of He-initialised weights, down to one layer."""
    generator = torch.Generator().manual_seed(0)
    state_dict, channels = {}, 3
    for name, index in layer_names(topology).items():
        out = VGG_CHANNELS[int(name[4]) - 1]
        weight = torch.empty(out, channels, 3, 3)
        nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)
        state_dict[f"features.{index}.weight"] = weight
        state_dict[f"features.{index}.bias"] = torch.zeros(out)
        channels = out
        if name == deepest:
            break
    return LossNetwork(state_dict, topology)


# ---- one training step -------------------------------------------------------------------------


def baseline_step(args: argparse.Namespace) -> Case:
    """A training step of the baseline: both VGG passes whole, MSE losses, Adam."""
    network, vgg = BaselineNet(args.width), random_loss_network("vgg16", "relu4_3")
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    photos = torch.rand(args.batch_size, 3, args.size, args.size)

    def gram(features: Tensor) -> Tensor:
        flat = features.flatten(2)  # (B, C, N)
        return flat.bmm(flat.transpose(1, 2)) / features[0].numel()

    with torch.no_grad():
        style = vgg(torch.rand(1, 3, args.size, args.size), STYLE_LAYERS)
        grams = {name: gram(style[name]).repeat(len(photos), 1, 1) for name in STYLE_LAYERS}

    def step() -> None:
        optimizer.zero_grad()
        features, content = vgg(network(photos), STYLE_LAYERS), vgg(photos, STYLE_LAYERS)
        loss = CONTENT_WEIGHT * F.mse_loss(features[CONTENT_LAYER], content[CONTENT_LAYER])
        for name in STYLE_LAYERS:
            loss = loss + STYLE_WEIGHT * F.mse_loss(gram(features[name]), grams[name])
        loss.backward()
        optimizer.step()

    return step


def module_step(
    args: argparse.Namespace, width: float, loss_network: LossNetwork, content_layer: str | None
) -> Case:
    """A training step of fst: that of the Lightning module, its precision and optimiser."""
    # Below 64 px the shifts would leave relu5_1 too small for reflect padding.
    shift_px = 3 if args.size >= 64 else 0
    styles = [{"name": "random", "images": []}]
    module = StyleTransferModule(styles, width=width, shift_px=shift_px)
    loss_network.to(memory_format=torch.channels_last)
    module.perceptual = PerceptualLoss(loss_network, content_layer=content_layer)
    module.perceptual.set_styles([[torch.rand(3, args.size, args.size)]])
    optimizer = torch.optim.Adam(module.network.parameters(), 1e-3, fused=True)
    photos = torch.randint(256, (args.batch_size, 3, args.size, args.size), dtype=torch.uint8)
    batch = photos, torch.zeros(args.batch_size, dtype=torch.long)
    bf16 = best_precision("cpu") == "bf16-mixed"
    warnings.filterwarnings("ignore", ".*self.log.*")  # there is no trainer to log to

    def step() -> None:
        module.hparams.seed += 1  # other shifts at each step, as in a run
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = module.training_step(batch, 0)["loss"]
        loss.backward()
        optimizer.step()

    return step


def train_cases(args: argparse.Namespace) -> dict[str, Callable[[], Case]]:
    """The trainings compared; the baseline first."""
    ours = f"fst, width {args.width:g}, VGG-16"
    shipped = f"fst as shipped, width {SHIPPED_WIDTH:g}, vgg19-lite"
    return {
        f"baseline, width {args.width:g}, VGG-16": lambda: baseline_step(args),
        ours: lambda: module_step(
            args, args.width, random_loss_network("vgg16", "relu4_3"), CONTENT_LAYER
        ),
        shipped: lambda: module_step(args, SHIPPED_WIDTH, load_loss_network("vgg19-lite"), None),
    }


# ---- one painting ------------------------------------------------------------------------------


def infer_cases(width: float, size_px: int) -> dict[str, Callable[[], Tensor]]:
    """Paintings of one photo at equal weights: baseline, fst, fst in bf16."""
    torch.manual_seed(0)
    network = TransformerNet(1, width).eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        if name.endswith(("gamma", "beta")):  # as trained, not the identity
            parameter.add_(0.3 * torch.randn_like(parameter))
    baseline = BaselineNet(width, like_ours=True).eval()
    copy_weights(network, baseline)
    network.to(memory_format=torch.channels_last)
    photo = torch.rand(1, 3, size_px, size_px)

    def ours(bf16: bool) -> Tensor:
        batch = photo.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return network(batch, network.one_hot(torch.tensor([0])))[0].contiguous()

    def theirs() -> Tensor:
        with torch.no_grad():
            return baseline(photo)[0]

    return {"baseline": theirs, "fst": partial(ours, False), "fst, bf16": partial(ours, True)}


# ---- the subcommands ---------------------------------------------------------------------------


def interleaved(cases: dict[str, Case], repeats: int, warmup: int = 2) -> dict[str, float]:
    """Median seconds of each case, run in turns A B C A B C ... after the warm-up."""
    for run in [*cases.values()] * warmup:
        run()
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, run in cases.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def run_train(args: argparse.Namespace) -> Rows:
    """Training steps in images a second."""
    steps = {name: make() for name, make in train_cases(args).items()}
    baseline = next(iter(steps))
    # fst-train keeps freed memory and the baseline's script does not; what that alone is worth
    # stands in a row of its own.
    cases = {name: partial(with_allocator, step, name != baseline) for name, step in steps.items()}
    cases[f"{baseline}, freed memory kept"] = partial(with_allocator, steps[baseline], True)
    medians = interleaved(cases, args.repeats)
    keep_freed_memory(False)
    first = next(iter(medians.values()))
    return [
        {"case": name, "ms a step": 1e3 * s, "images/s": args.batch_size / s, "ratio": first / s}
        for name, s in medians.items()
    ]


def with_allocator(run: Case, keep: bool) -> None:
    """Run under fst-train's allocator settings or under glibc's own."""
    keep_freed_memory(keep)
    run()


def run_infer(args: argparse.Namespace) -> Rows:
    """Paintings at equal weights, and by how much they differ."""
    rows: Rows = []
    for size_px in args.sizes:
        cases = infer_cases(args.width, size_px)
        # As they are run: fst-infer keeps freed memory, the baseline's script does not.
        timed = {n: partial(with_allocator, run, n != "baseline") for n, run in cases.items()}
        timed["baseline, freed memory kept"] = partial(with_allocator, cases["baseline"], True)
        medians = interleaved(timed, args.repeats)
        keep_freed_memory(False)
        cases["baseline, freed memory kept"] = cases["baseline"]
        expected = cases["baseline"]()
        for name, run in cases.items():
            difference = (run() - expected).abs()
            rows.append(
                {
                    "case": f"{name}, width {args.width:g}, {size_px} px",
                    "ms": 1e3 * medians[name],
                    "ratio": medians["baseline"] / medians[name],
                    "max difference": difference.max().item(),
                    "share beyond 1/255": (difference > 1 / 255).any(0).float().mean().item(),
                }
            )
    return rows


def run_startup(args: argparse.Namespace) -> Rows:
    """Whole processes, against importing torch."""
    with tempfile.TemporaryDirectory() as folder:
        network = TransformerNet(1, width=0.125, num_blocks=1)
        styles = [{"name": "random", "images": []}]
        save_style_model(f"{folder}/model.safetensors", network, describe(network, styles, {}))
        images.save(torch.rand(3, 64, 64), f"{folder}/photo.png")
        paint = ["photo.png", "--model", "model.safetensors", "-o", "painting.png", "--overwrite"]
        commands = {
            "import torch": ["-c", "import torch"],
            "fst-infer, a 64 px picture": ["-m", "fst.cli.infer", *paint],
            "fst-train --help": ["-m", "fst.cli.train", "--help"],
        }
        cases = {name: partial(python, c, folder) for name, c in commands.items()}
        medians = interleaved(cases, args.repeats, warmup=1)
        modules = {
            name: python(["-X", "importtime", *command], folder).stderr.count("import time:") - 1
            for name, command in commands.items()
        }
    first = medians["import torch"]
    return [
        {"case": name, "ms": 1e3 * s, "modules imported": modules[name], "ratio": first / s}
        for name, s in medians.items()
    ]


def run_memory(args: argparse.Namespace) -> Rows:
    """Peaks above what the imports take, each in a process of its own."""
    names = [("train", name, args.size) for name in train_cases(args)]
    names += [("infer", name, size_px) for size_px in args.sizes for name in ("baseline", "fst")]
    rows: Rows = []
    first = 0.0
    for kind, name, size_px in names:
        worker = [__file__, "peak", kind, name, "--width", args.width, "--size", size_px]
        worker += ["--batch-size", args.batch_size, "--threads", torch.get_num_threads()]
        peaks = [float(python([str(w) for w in worker]).stdout) for _ in range(args.repeats)]
        peak_mib = statistics.median(peaks)
        first = peak_mib if name.startswith("baseline") else first
        case = f"{kind}: {name}, {size_px} px"
        rows.append({"case": case, "peak MiB": peak_mib, "ratio": first / peak_mib})
    return rows


def run_peak(args: argparse.Namespace) -> None:
    """The process that `run_memory` starts: prints the MiB that two runs of one case add."""
    before = resident_mib("VmRSS")
    case = (
        train_cases(args)[args.case]()
        if args.kind == "train"
        else infer_cases(args.width, args.size)[args.case]
    )
    for _ in range(2):  # the optimiser makes its state in the first step
        case()
    print(resident_mib("VmHWM") - before)


def resident_mib(field: str) -> float:
    """Resident memory of this process: VmRSS now, VmHWM its peak."""
    # Not getrusage: Linux carries its ru_maxrss over from the process that started this one.
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        raise FstError("memory is measured on Linux only: /proc/self/status is missing") from None
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def python(arguments: Sequence[str], folder: str | None = None) -> subprocess.CompletedProcess:
    """Run this Python with arguments, in a folder."""
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=folder, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise FstError(f"python {' '.join(arguments)} failed: {last}")
    return done


# ---- command line and report -------------------------------------------------------------------

COMMANDS = {"train": run_train, "infer": run_infer, "startup": run_startup, "memory": run_memory}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    args = make_parser().parse_args(argv)
    torch.manual_seed(0)
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        run_peak(args) if args.command == "peak" else run_commands(args)
    except FstError as error:
        print(f"benchmark: {images.printable(error)}", file=sys.stderr)
        return 2
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Command line of this script."""
    shared = argparse.ArgumentParser(add_help=False)
    add = shared.add_argument
    add("--width", type=float, default=1.0, help="of the networks compared")
    add("--size", type=side, default=256, metavar="PX", help="of training images")
    add("--sizes", type=side, nargs="+", metavar="PX", help="of images painted")
    add("--batch-size", type=positive, default=4, metavar="N", help="of training")
    add("--repeats", type=positive, metavar="N", help="runs of which the median is taken")
    add("--threads", type=positive, metavar="N", help="of torch (its own choice)")
    add("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, run in COMMANDS.items():
        commands.add_parser(name, parents=[shared], help=run.__doc__)
    commands.add_parser("all", parents=[shared], help="All of these.")
    peak = commands.add_parser("peak", parents=[shared])  # for run_memory, hence without help
    peak.add_argument("kind", choices=("train", "infer"))
    peak.add_argument("case")
    return parser


def positive(text: str) -> int:
    """A whole number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def side(text: str) -> int:
    """An image side: the baseline takes multiples of 4, the loss network at least 32 px."""
    if positive(text) % 4 or int(text) < 32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a multiple of 4 from 32 up")
    return int(text)


# Without --repeats and --sizes. 512 and 1024 px for memory: below, the weights weigh most.
REPEATS = {"train": 10, "infer": 10, "startup": 5, "memory": 3}
SIZES = {"infer": [256, 512, 1024], "memory": [512, 1024]}


def run_commands(args: argparse.Namespace) -> None:
    """Measure, print, and write the JSON file."""
    names = list(COMMANDS) if args.command == "all" else [args.command]
    machine = describe_machine()
    print(f"Baseline: {BASELINE}\n" + "".join(f"- {k}: {v}\n" for k, v in machine.items()))
    results = {}
    for name in names:
        chosen = {
            "repeats": args.repeats or REPEATS[name],
            "sizes": args.sizes or SIZES.get(name, []),
        }
        settings = argparse.Namespace(**{**vars(args), **chosen})
        results[name] = COMMANDS[name](settings)
        print(f"## {name}\n\n{markdown(results[name])}\n", flush=True)
    if args.json:
        options = {"width": args.width, "size_px": args.size, "batch_size": args.batch_size}
        text = json.dumps(
            {"baseline": BASELINE, "machine": machine, "options": options, "results": results},
            indent=2,
        )
        write_atomically(args.json, f"{text}\n".encode())


def describe_machine() -> dict[str, object]:
    """Processor, cores and versions that the figures hold for."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "training precision of fst": best_precision("cpu"),
    }


def markdown(rows: Rows) -> str:
    """Rows as a Markdown table, four digits to a number."""
    lines = [f"| {' | '.join(rows[0])} |", "|---|" + "---:|" * (len(rows[0]) - 1)]
    for row in rows:
        cells = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
