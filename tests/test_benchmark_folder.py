"""Tests of scripts/benchmark_folder.py; none asserts a speed."""

import pytest


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("benchmark_folder")


def test_each_step_is_told_with_its_times(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "LARGE_PX", (60, 80))
    rows = script.part_rows(tmp_path, 32, 1)
    steps = " ".join(row["step"] for row in rows)
    assert all(word in steps for word in ("decode", "network, 32 px", "encode, PNG", "record"))
    assert all(row["ms"] > 0 and row["ms of processor"] >= 0 for row in rows)


def test_a_plan_has_its_steps_and_size(script, tmp_path):
    rows = script.plan_rows(tmp_path, 3)
    assert [row["step"].split()[0] for row in rows] == ["find", "plan", "settle", "pack", "(the"]
    assert all(row["s of processor"] >= 0 for row in rows[:-1])


def test_times_are_medians_after_a_warm_up(script, monkeypatch):
    clock = iter([0, 100, 0, 3, 0, 1, 0, 2])  # a start and an end of each of four runs
    monkeypatch.setattr(script.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(script.time, "process_time", lambda: 0)
    assert script._in_turns({"case": lambda: None}, 3) == {"case": (2, 0)}


def test_a_run_is_reckoned_from_its_record(script, tmp_path, monkeypatch):
    """Two processes that finish three pictures each, one a second and one every two seconds."""
    (tmp_path / "small.jpg").touch()
    busy = iter([10.0, 4.0])

    def run(command):
        if "--resume" not in command:
            for rank, step in ((0, 1), (1, 2)):
                record = script.Record(tmp_path / "out", rank)
                for number in range(3):
                    picture = tmp_path / "out" / f"{rank}{number}.jpg"
                    picture.touch()
                    monkeypatch.setattr(script.time, "time", lambda n=number, s=step: 100 + n * s)
                    record.begin(picture)
                    record.done(picture, "key")
                record.close()
        return next(busy)

    monkeypatch.setattr(script, "_processor_s", run)
    monkeypatch.setattr(script.time, "time", lambda: 90)
    figures = script._run(tmp_path, 2, 6)
    assert figures == {
        "pictures/s": 1.5,
        "s to the first picture": 10,
        "ms of processor a picture": 1000,
    }
