"""Amounts of memory: written, read, and what is left."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fst.errors import FstError
from fst.runtime import memory


@given(st.integers(1, 999), st.sampled_from("KMGT"))
def test_units_are_powers_of_1024(count, unit):
    expected = count * 1024 ** ("KMGT".index(unit) + 1)
    for text in (f"{count}{unit}", f"{count}{unit.lower()}iB", f" {count}.0{unit} "):
        assert memory.parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "0", "-1G", "1X", "G", "1e9", "2 G"])
def test_anything_else_is_no_amount(text):
    with pytest.raises(FstError, match="write 800M or"):
        memory.parse_bytes(text)


@pytest.mark.parametrize(
    ("limit", "used"),
    [
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ],
)
def test_what_a_container_leaves_is_the_limit(monkeypatch, tmp_path, limit, used):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    whole = memory.available_bytes(torch.device("cpu"))
    assert whole > 2**20
    (tmp_path / "memory").mkdir()
    (tmp_path / limit).write_text("20000\n")
    (tmp_path / used).write_text("7655\n")
    assert memory.available_bytes(torch.device("cpu")) == 12345
    # What was read from files before is given up when memory is asked for.
    (tmp_path / used).with_name("memory.stat").write_text("file 9000\ninactive_file 5000\n")
    assert memory.available_bytes(torch.device("cpu")) == 17345


@pytest.mark.parametrize(
    ("vendor", "flags", "faster"),
    [
        ("AuthenticAMD", "avx512f avx512_bf16", True),
        ("GenuineIntel", "avx512f avx512_bf16", False),  # AMX hidden by the virtual machine
        ("GenuineIntel", "avx512f avx512_bf16 amx_tile amx_bf16", True),
        ("AuthenticAMD", "avx2 avx512f", False),
        ("", "Features: asimd bf16", False),  # ARM: not measured
    ],
)
def test_bf16_is_chosen_where_it_is_faster(vendor, flags, faster):
    cpuinfo = f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: fpu {flags}\nbugs\t\t: none"
    assert memory.bf16_is_faster(cpuinfo) is faster
