"""A resumed run is the uninterrupted one, bit for bit: weights, Adam, batches and curves."""

import re
import shutil
import signal

import pytest
import torch
from conftest import smooth_field
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util.tensor_util import make_ndarray
from warm_process import WarmProcess, read_trace

from fst.cli.train import main
from fst.training.module import StyleTransferModule

STEPS = 18
# An epoch of 12 photos ends every 6 steps of 2, and every 3 steps of 2 x 2. Curves are written
# every 2 steps and reviews every 6: 6, 12 and 18 are epoch end, review and writing at once.
POINTS = (1, 2, 3, 5, 6, 7, 9, 12, 15, 17)
TIMED = "throughput/"  # curves of the clock


def curves(folder):
    """Every scalar in the log, also those written twice: {(tag, step): set of exact values}."""
    found = {}
    for path in sorted(folder.glob("events*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                number = make_ndarray(value.tensor)
                if number.ndim == 0 and number.dtype.kind == "f":  # texts and pictures are others
                    found.setdefault((value.tag, event.step), set()).add(number.tobytes())
    return {key: v for key, v in found.items() if not key[0].startswith(TIMED)}


def leaves(value, path=""):
    """(path, leaf) of nested dicts and lists."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from leaves(entry, f"{path}/{key}")
    elif isinstance(value, list | tuple):
        for place, entry in enumerate(value):
            yield from leaves(entry, f"{path}/{place}")
    else:
        yield path, value


def assert_same_state(folder, reference):
    """All that a checkpoint holds, tensors to the bit."""
    left, right = (
        dict(leaves(torch.load(run / "last.ckpt", weights_only=True)))
        for run in (folder, reference)
    )
    # Lightning's count of the batches that a process has begun; a resumed run reviews no less.
    for path in left.keys() | right.keys():
        a, b = left.get(path), right.get(path)
        if isinstance(a, torch.Tensor):
            assert a.dtype == b.dtype and torch.equal(a, b), path
        elif path == "/settings":  # whatever reads the photos
            assert re.sub(r"num_workers: \d+", "", a) == re.sub(r"num_workers: \d+", "", b)
        elif not path.startswith("/loops"):
            assert a == b, path


def assert_same_curves(folder, reference):
    expected, found = curves(reference), curves(folder)
    assert len(expected) > 20
    assert found.keys() == expected.keys()
    assert [key for key in expected if found[key] != expected[key]] == []


# Between two writings of the curves, and by Ctrl-C, where Lightning counts otherwise, after a
# review and in the last step.
@pytest.mark.parametrize(
    ("step", "every", "exception"),
    [
        (5, 1, SystemExit),
        (6, 5, KeyboardInterrupt),
        (11, 5, KeyboardInterrupt),
        pytest.param(6, 1, SystemExit, marks=pytest.mark.slow),
        pytest.param(11, 5, SystemExit, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_writes_the_same_curves_and_weights(
    run, train_argv, tmp_path, interrupted_at, keep_interrupts, step, every, exception
):
    folder = tmp_path / "run"
    interrupted_at(step, exception())
    with pytest.raises(SystemExit):
        main(train_argv(folder, "--save-every", every))
    assert main(["--resume", str(folder / "last.ckpt")]) == 0
    assert_same_state(folder, run)
    assert_same_curves(folder, run)


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--trainer.accumulate_grad_batches", 2)])
@pytest.mark.parametrize("step", [5, 6, 7])
def test_ctrl_c_in_the_middle_of_a_step_changes_no_curve(
    train_argv, tmp_path, monkeypatch, keep_interrupts, flags, step
):
    assert main(train_argv(tmp_path / "whole", *flags)) == 0
    genuine, seen = StyleTransferModule.training_step, []

    def training_step(self, batch, batch_idx):
        outputs = genuine(self, batch, batch_idx)
        seen.extend([self.global_step] * (self.global_step == step))
        if len(seen) == max(1, len(flags)):  # in the last batch of the step
            seen.append(None)
            raise KeyboardInterrupt
        return outputs

    monkeypatch.setattr(StyleTransferModule, "training_step", training_step)
    with pytest.raises(SystemExit):
        main(train_argv(tmp_path / "run", "--save-every", 5, *flags))
    assert main(["--resume", str(tmp_path / "run" / "last.ckpt")]) == 0
    assert_same_state(tmp_path / "run", tmp_path / "whole")
    assert_same_curves(tmp_path / "run", tmp_path / "whole")


def test_ctrl_c_before_the_first_step_of_a_resumed_run_keeps_its_checkpoint(
    run, tmp_path, monkeypatch, keep_interrupts
):
    def setup(self, stage=None):
        raise KeyboardInterrupt

    shutil.copytree(run, tmp_path / "run")
    last = tmp_path / "run" / "last.ckpt"
    before = last.read_bytes()
    monkeypatch.setattr(StyleTransferModule, "setup", setup)
    assert main(["--resume", str(last), "--steps", "14"]) == 130
    assert last.read_bytes() == before


@pytest.mark.parametrize(
    "exception", [pytest.param(SystemExit, marks=pytest.mark.slow), KeyboardInterrupt]
)
def test_a_review_that_was_cut_off_is_made_again(
    train_argv, held_out, tmp_path, monkeypatch, keep_interrupts, exception
):
    extra = ["--save-every", 3, "--held-out", held_out]
    assert main(train_argv(tmp_path / "whole", *extra)) == 0
    genuine, seen = StyleTransferModule.validation_step, []

    def validation_step(self, photos, batch_idx):
        seen.append(batch_idx)
        if len(seen) == 2:  # the second photo of the first review, at step 6
            raise exception()
        genuine(self, photos, batch_idx)

    monkeypatch.setattr(StyleTransferModule, "validation_step", validation_step)
    with pytest.raises(SystemExit):
        main(train_argv(tmp_path / "run", *extra))
    assert main(["--resume", str(tmp_path / "run" / "last.ckpt")]) == 0
    assert_same_state(tmp_path / "run", tmp_path / "whole")
    assert_same_curves(tmp_path / "run", tmp_path / "whole")


@pytest.fixture(scope="module")
def warm():
    process = WarmProcess()
    yield process
    process.close()


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    """Two photos for review, so that all twelve others are trained on."""
    folder = tmp_path_factory.mktemp("held_out")
    for seed in (50, 51):
        smooth_field(seed).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def start(warm, train_argv, held_out):
    """Runs fst-train in a folder beside its trace, in one process or two, until it ends."""

    def begin(argv, folder, ranks, die_at=None):
        files = folder.parent / f"{folder.name}.output", folder.parent / f"{folder.name}.trace"
        if ranks == 1:
            codes = [warm.run(argv, *files, die_at=die_at)]
        else:
            codes = warm.run_ranks(argv, *files, lambda rank: {"die_at": die_at})
        said = "".join(path.read_text() for path in folder.parent.glob(f"{files[0].name}*"))
        assert codes == ([0] if die_at is None else [-signal.SIGKILL]) * ranks, said[-3000:]

    def new(folder, ranks, workers, every, die_at=None):
        extra = ["--steps", STEPS, "--save-every", every, "--num-workers", workers]
        extra += ["--held-out", held_out]
        begin(train_argv(folder, *extra), folder, ranks, die_at)

    def resume(folder, ranks):
        begin(["--resume", folder / "last.ckpt"], folder, ranks)

    return new, resume


def batches(folder, ranks):
    """{(rank, batch number): set of digests of what was seen}."""
    found = {}
    for rank in range(ranks):
        end = f".{rank}" if ranks > 1 else ""
        for words in read_trace(folder.parent / f"{folder.name}.trace{end}"):
            if words[0] == "begin":
                found.setdefault((rank, int(words[2])), set()).add(words[3])
    return found


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    """The uninterrupted run of so many processes, without reader processes."""
    made = {}

    def make(ranks):
        if ranks not in made:
            made[ranks] = tmp_path_factory.mktemp("whole") / f"ranks{ranks}"
            start[0](made[ranks], ranks, workers=0, every=1)
        return made[ranks]

    return make


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL and fork")
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_goes_on_bit_for_bit(start, whole, tmp_path, workers, ranks, capsys):
    new, resume = start
    reference = whole(ranks)
    epochs = [step for step in POINTS if step * 2 * ranks % 12 == 0]
    assert len(POINTS) >= 8 and len(epochs) >= 2
    compared = 0
    for place, step in enumerate(POINTS):
        folder = tmp_path / f"at{step}"
        every = 4 if place % 2 and step > 4 else 1  # some steps are taken twice
        new(folder, ranks, workers, every, die_at=step)
        stored = torch.load(folder / "last.ckpt", weights_only=True)["global_step"]
        assert stored == step - step % every
        resume(folder, ranks)
        assert_same_state(folder, reference)
        assert_same_curves(folder, reference)
        assert batches(folder, ranks) == batches(reference, ranks)
        compared += len(curves(folder)) + len(batches(folder, ranks))
        shutil.rmtree(folder)
    with capsys.disabled():
        print(
            f"\n{workers} workers, {ranks} processes: killed and resumed at {len(POINTS)} points "
            f"{POINTS}, epoch ends among them {tuple(epochs)}; "
            f"{compared} points of curves and batches compared, 0 differ"
        )
