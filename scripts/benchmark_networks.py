"""What scripts/benchmark.py times: training steps and paintings, of the baseline and of fst."""

import argparse
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from benchmark_timing import Case, by_torch
from torch import Tensor, nn

from fst.assets import GALLERY
from fst.data.batches import StyleBatch
from fst.losses.perceptual import PerceptualLoss
from fst.networks.loss_network import VGG_CHANNELS, LossNetwork, layer_names, load_loss_network
from fst.networks.transformer import CHANNELS, TransformerNet
from fst.runtime.memory import best_precision
from fst.training.module import StyleTransferModule
from fst.training.settings import Architecture, Objective
from fst.training.warm_start import trunk_size

STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
CONTENT_LAYER = "relu2_2"
CONTENT_WEIGHT, STYLE_WEIGHT = 1e5, 1e10
SHIPPED_WIDTH, SHIPPED_BLOCKS = trunk_size(GALLERY)  # what fst-train begins from

# ---- the baseline ------------------------------------------------------------------------------


class ConvNorm(nn.Sequential):
    """Reflect padding, convolution with bias, affine instance norm; `doubles` shuffles between."""

    def __init__(
        self, c_in: int, c_out: int, kernel_size: int, stride: int = 1, doubles: bool = False
    ) -> None:
        super().__init__(
            nn.ReflectionPad2d(kernel_size // 2),
            nn.Conv2d(c_in, c_out * (4 if doubles else 1), kernel_size, stride),
            *[nn.PixelShuffle(2)][: int(doubles)],
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
    """The network of pytorch/examples fast_neural_style; sides must be multiples of 4."""

    def __init__(self, width: float = 1.0, num_blocks: int = 5) -> None:
        c1, c2, c3 = (max(1, round(width * channels)) for channels in (32, 64, 128))
        super().__init__(
            *(ConvNorm(3, c1, 9), nn.ReLU()),
            *(ConvNorm(c1, c2, 3, stride=2), nn.ReLU()),
            *(ConvNorm(c2, c3, 3, stride=2), nn.ReLU()),
            *(Residual(c3) for _ in range(num_blocks)),
            *(nn.Upsample(scale_factor=2), ConvNorm(c3, c2, 3), nn.ReLU()),
            *(nn.Upsample(scale_factor=2), ConvNorm(c2, c1, 3), nn.ReLU()),
            *tuple(ConvNorm(c1, 3, 9))[:2],
        )


class PlainTransformer(nn.Sequential):
    """A `TransformerNet` in the baseline's layers; sides must be multiples of 4."""

    def __init__(self, width: float = 1.0, num_blocks: int = SHIPPED_BLOCKS) -> None:
        c1, c2 = (max(1, round(width * channels)) for channels in CHANNELS)
        super().__init__(
            *(ConvNorm(3, c1, 9, stride=2), nn.ReLU()),
            *(ConvNorm(c1, c2, 3, stride=2), nn.ReLU()),
            *(Residual(c2) for _ in range(num_blocks)),
            *(nn.Upsample(scale_factor=2), ConvNorm(c2, c1, 3), nn.ReLU()),
            *(ConvNorm(c1, 3, 5, doubles=True), nn.Sigmoid()),
        )


@torch.no_grad()
def copy_weights(source: TransformerNet, target: PlainTransformer) -> None:
    """Make `target` compute what `source` computes in style 0."""
    ours = [module for module in source.modules() if hasattr(module, "norm")]
    theirs = [module for module in target.modules() if isinstance(module, ConvNorm)]
    for module, layers in zip(ours, theirs, strict=True):
        conv, norm = layers[1], layers[-1]
        conv.weight.copy_(module.conv.weight)
        conv.bias.zero_()
        norm.weight.copy_(module.norm.gamma[0])
        norm.bias.copy_(module.norm.beta[0])


def random_vgg(
    topology: str, deepest: str, given: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Weights of a VGG of full width down to one layer: those given, else He-initialised ones."""
    generator = torch.Generator().manual_seed(0)
    state_dict, channels = dict(given or {}), 3
    for name, index in layer_names(topology).items():
        weight = state_dict.get(f"features.{index}.weight")
        if weight is None:
            weight = torch.empty(VGG_CHANNELS[int(name[4]) - 1], channels, 3, 3)
            nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)
            state_dict[f"features.{index}.weight"] = weight
            state_dict[f"features.{index}.bias"] = torch.zeros(len(weight))
        channels = len(weight)
        if name == deepest:
            break
    return state_dict


def random_loss_network(topology: str, deepest: str, padding: str = "zeros") -> LossNetwork:
    """A VGG of He-initialised weights, down to one layer."""
    return LossNetwork(random_vgg(topology, deepest), topology, padding)


# ---- one training step -------------------------------------------------------------------------


def gram(features: Tensor) -> Tensor:
    """Gram matrices of a batch, as the baseline has them."""
    flat = features.flatten(2)  # (B, C, N)
    return flat.bmm(flat.transpose(1, 2)) / features[0].numel()


@torch.no_grad()
def random_grams(vgg: LossNetwork, photos: Tensor) -> dict[str, Tensor]:
    """Those of a style picture of noise, for each photo of a batch."""
    style = vgg(torch.rand_like(photos[:1]), STYLE_LAYERS)
    return {name: gram(features).repeat(len(photos), 1, 1) for name, features in style.items()}


def baseline_loss(
    vgg: LossNetwork, stylized: Tensor, photos: Tensor, grams: dict[str, Tensor]
) -> Tensor:
    """Content and style loss, both VGG passes whole."""
    features, content = vgg(stylized, STYLE_LAYERS), vgg(photos, STYLE_LAYERS)
    loss = CONTENT_WEIGHT * F.mse_loss(features[CONTENT_LAYER], content[CONTENT_LAYER])
    for name in STYLE_LAYERS:
        loss = loss + STYLE_WEIGHT * F.mse_loss(gram(features[name]), grams[name])
    return loss


def baseline_step(args: argparse.Namespace) -> Case:
    """A training step of the baseline: both VGG passes whole, MSE losses, Adam."""
    network, vgg = BaselineNet(args.width), random_loss_network("vgg16", "relu4_3")
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    photos = torch.rand(args.batch_size, 3, args.size, args.size)
    grams = random_grams(vgg, photos)

    @by_torch
    def step() -> None:
        optimizer.zero_grad()
        baseline_loss(vgg, network(photos), photos, grams).backward()
        optimizer.step()

    return step


def module_step(
    args: argparse.Namespace,
    width: float,
    loss_network: LossNetwork,
    style_layers: Sequence[str] | None = None,
    style_loss: str | None = None,
) -> Case:
    """A training step of fst: that of the Lightning module, its precision and optimiser."""
    # Below 64 px the shifts would leave relu5_1 too small for reflect padding.
    shift_px = 3 if args.size >= 64 else 0
    architecture = Architecture(width, SHIPPED_BLOCKS)
    module = StyleTransferModule(["random.jpg"], architecture, Objective(shift_px=shift_px))
    loss_network.to(memory_format=torch.channels_last)
    module.perceptual = PerceptualLoss(
        loss_network,
        content_layer=style_layers and CONTENT_LAYER,
        style_layers=style_layers,
        style_loss=style_loss,
    )
    in_grey = bool(module.objective.grey_every)
    module.perceptual.set_styles([[torch.rand(3, args.size, args.size)]], in_grey)
    optimizer = torch.optim.Adam(module.network.parameters(), 1e-3, fused=True)
    photos = torch.randint(256, (args.batch_size, 3, args.size, args.size), dtype=torch.uint8)
    batch = StyleBatch(photos, torch.zeros(args.batch_size, dtype=torch.long))
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
    shipped = f"fst as shipped, width {SHIPPED_WIDTH:g}, vgg16-lite"
    return {
        f"baseline, width {args.width:g}, VGG-16": lambda: baseline_step(args),
        ours: lambda: module_step(
            args, args.width, random_loss_network("vgg16", "relu4_3", "reflect"), STYLE_LAYERS
        ),
        shipped: lambda: module_step(args, SHIPPED_WIDTH, load_loss_network("vgg16-lite")),
        f"{shipped}, gram": lambda: module_step(
            args, SHIPPED_WIDTH, load_loss_network("vgg16-lite"), style_loss="gram"
        ),
    }


# ---- parts -------------------------------------------------------------------------------------


def loss_cases(args: argparse.Namespace) -> dict[str, Case]:
    """The losses compared, VGG-16 to relu4_3, with their gradient for the images."""
    photos = torch.rand(args.batch_size, 3, args.size, args.size)
    index = torch.zeros(args.batch_size, dtype=torch.long)
    vgg, loss_network = (random_loss_network("vgg16", "relu4_3") for _ in range(2))
    loss_network.to(memory_format=torch.channels_last)
    painting, grams = torch.rand(3, args.size, args.size), random_grams(vgg, photos)
    bf16 = best_precision("cpu") == "bf16-mixed"

    @by_torch
    def theirs() -> None:
        baseline_loss(vgg, torch.rand_like(photos).requires_grad_(), photos, grams).backward()

    def ours(style_loss: str) -> Case:
        loss = PerceptualLoss(
            loss_network,
            content_layer=CONTENT_LAYER,
            style_layers=STYLE_LAYERS,
            style_loss=style_loss,
        )
        loss.set_styles([[painting]])

        def evaluate() -> None:
            stylized = torch.rand_like(photos).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                terms = loss(stylized.requires_grad_(), photos, index)
            terms["total"].backward()

        return evaluate

    names = ("gram", "wasserstein")
    return {"baseline loss, VGG-16 to relu4_3": theirs} | {f"fst, {n}": ours(n) for n in names}


# ---- one painting ------------------------------------------------------------------------------


def trained_like(width: float, margin: int = Architecture.margin) -> TransformerNet:
    """A network of random weights, its tables as trained, not the identity."""
    torch.manual_seed(0)
    network = TransformerNet(1, width, SHIPPED_BLOCKS, margin=margin).eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        if name.endswith(("gamma", "beta")):
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def infer_cases(
    width: float, size_px: int, compiled: bool = False
) -> dict[str, Callable[[], Tensor]]:
    """Paintings of one photo at equal weights, without a margin: baseline, fst, in bf16 where there
    is, compiled."""
    network = trained_like(width, margin=0)
    baseline = PlainTransformer(width).eval()
    copy_weights(network, baseline)
    network.to(memory_format=torch.channels_last)
    photo = torch.rand(1, 3, size_px, size_px)

    def ours(bf16: bool = False, painter: Callable = network) -> Tensor:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return painter(photo, network.one_hot(torch.tensor([0])))[0].contiguous()

    def theirs() -> Tensor:
        with torch.no_grad():
            return baseline(photo)[0]

    cases = {"baseline": theirs, "fst": ours}
    if best_precision("cpu") == "bf16-mixed":
        cases["fst, bf16"] = partial(ours, bf16=True)
    if compiled:
        cases["fst, torch.compile"] = partial(ours, painter=torch.compile(network))
    return cases
