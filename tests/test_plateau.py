"""Where a run stands, by recorded curves; and runs that end at their plateau by themselves."""

import math

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fst.cli.train import main
from fst.training.plateau import advice, standing
from fst.training.schedule import Fall, rate_factors

# val/brushwork every 16 steps of runs of 320 steps of 2 x 128 px from the gallery, cosine over the
# run, for 80 steps gamma and beta alone: a drawn stained glass, which comes early, and drawn waves.
GLASS = (1.0389, 0.8989, 0.7206, 0.6283, 0.5884, 0.5677, 0.5548, 0.5482, 0.518, 0.5188,
         0.5127, 0.5208, 0.4987, 0.5125, 0.5202, 0.5026, 0.4966, 0.503, 0.505, 0.5051)  # fmt: skip


def curve(values, every=16):
    return [(every * (place + 1), value) for place, value in enumerate(values)]


def test_nothing_is_said_before_there_are_three_validations():
    assert standing(curve(GLASS[:2])) is None and advice(curve(GLASS[:2])) == ""
    assert standing(curve(GLASS[:3])).gain > 0.1


def test_a_recorded_run_gains_first_and_comes_to_its_plateau():
    told = {step: standing(curve(GLASS)[: step // 16]) for step in range(80, 321, 16)}
    assert all(told[step].to_plateau != 0 for step in range(80, 177, 16))
    assert told[112].gain > 0.1
    assert told[320].to_plateau == 0 and told[320].gain < 0.01


def test_the_way_to_the_plateau_is_foreseen():
    """After 800 steps, within a third, when it will be said to have come."""
    values = [0.5 + 0.3 * math.exp(-step / 300) for step in range(40, 2001, 40)]
    told = [standing(curve(values[:count], 40)) for count in range(5, len(values))]
    there = 40 * (5 + next(i for i, found in enumerate(told) if found.to_plateau == 0))
    assert told[20 - 5].to_plateau == pytest.approx(there - 800, rel=0.33)


def test_a_run_that_gains_is_told_to_go_on_and_one_that_does_not_to_stop():
    assert "twice as many would take" in advice(curve(GLASS[:8]))
    assert "would hardly help" in advice(curve(GLASS)[8:])  # from where all weights learn


def test_distances_that_grow_are_no_gain():
    found = standing(curve([0.5, 0.51, 0.52, 0.53, 0.54]))
    assert found.gain < 0 and found.to_plateau == 0


# The learning rate


def test_the_rate_stays_and_then_falls_over_a_fifth_of_the_steps_before():
    fall = Fall.of_run(1200, until_plateau=True)
    assert (fall.first, fall.last) == (1000, 1200)
    factor, _ = rate_factors(fall, 0)
    assert factor(900) == 1 and factor(1100) == pytest.approx(0.5) and factor(1200) == 0
    fall.begin(300)
    assert (fall.first, fall.last) == (300, 360)
    assert factor(300) == 1 and factor(330) == pytest.approx(0.5) and factor(400) == 0
    fall.begin(340)  # it has begun
    assert (fall.first, fall.last) == (300, 360)


def test_the_shortest_runs_have_a_rate():
    assert [Fall.of_run(steps, until_plateau=True).factor(0) for steps in (1, 2, 3)] == [1, 1, 1]


# Runs


def test_a_run_without_validations_has_no_plateau(train_argv, tmp_path, capsys):
    argv = train_argv(tmp_path / "run", "--until", "plateau", "--trainer.limit_val_batches", 0)
    assert main(argv) == 2
    assert "leave --trainer.limit_val_batches 0 out" in capsys.readouterr().err


@pytest.fixture(scope="module")
def ended(train_argv, tmp_path_factory):
    """A run of random features, whose brushwork is as good as it gets from the beginning."""
    folder = tmp_path_factory.mktemp("until") / "run"
    argv = train_argv(folder, "--steps", 400, "--until", "plateau", "--lr", 1e-6, "--val-every", 10)
    argv[argv.index("--save-every") + 1] = "10"
    assert main(argv) == 0
    return folder


def rates_of(folder):
    events = EventAccumulator(str(folder)).Reload().Scalars("lr-Adam/styles")
    return {event.step: event.value for event in events}


def test_a_run_ends_at_its_plateau_with_a_rate_of_0(ended, capsys):
    stored = torch.load(ended / "last.ckpt", weights_only=True)
    first, last = stored["callbacks"]["Watch"]["fall"]
    assert stored["global_step"] == last == first + round(0.2 * first) < 400
    assert stored["style_model"]["training"]["step"] == last
    rates = rates_of(ended)
    peak = max(rates.values())
    assert all(rate == peak for step, rate in rates.items() if 60 < step <= first)
    assert rates[max(rates)] < peak / 10


def test_a_run_that_has_ended_so_is_not_resumed(ended, capsys):
    assert main(["--resume", str(ended / "last.ckpt")]) == 0
    assert "has ended at its plateau" in capsys.readouterr().err


def test_a_run_that_is_interrupted_within_its_fall_goes_on_to_the_same_end(
    ended, train_argv, tmp_path, interrupted_at, keep_interrupts
):
    last = torch.load(ended / "last.ckpt", weights_only=True)
    middle = sum(last["callbacks"]["Watch"]["fall"]) // 2
    argv = train_argv(tmp_path / "run", "--steps", 400, "--until", "plateau", "--lr", 1e-6)
    argv += ["--val-every", "10", "--save-every", "10"]
    interrupted_at(middle, KeyboardInterrupt())
    with pytest.raises(SystemExit):
        main(argv)
    assert torch.load(tmp_path / "run/last.ckpt", weights_only=True)["global_step"] == middle
    assert main(["--resume", str(tmp_path / "run/last.ckpt")]) == 0
    again = torch.load(tmp_path / "run/last.ckpt", weights_only=True)
    assert again["global_step"] == last["global_step"]
    assert again["callbacks"]["Watch"] == last["callbacks"]["Watch"]
    for name, weight in last["state_dict"].items():
        assert torch.equal(weight, again["state_dict"][name])
