"""Seeded damage and malice to model files: safetensors, checkpoints of Lightning, VGG weights."""

import io
import json
import os
import pickle
import struct
import zipfile

import numpy as np
import torch
from mutations import BLIND, flip_bits, overwrite
from safetensors.torch import save

DTYPES = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I64", "I32", "U8", "BOOL", "C64",
          "F4", "X9", "", 5, None)  # fmt: skip
SIZES = (0, 1, -1, 3, 2**16, 2**31 - 1, 2**31, 2**32, 2**40, 2**63 - 1, 2**64 - 1, 2**64, 1.5, "9")


class Payload:
    """What pickle would run as a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def bomb(levels=40):
    """A list of lists of ... each of which is the same two times: 2^levels when it is copied."""
    value = ["x"] * 2
    for _ in range(levels):
        value = [value, value]
    return value


def hostile_value(random, marker, as_json=False):
    """Something of another kind than was expected."""
    ring = []
    ring.append(ring)
    run = {"command": f"touch {marker}"}
    values = [
        None, True, False, 0, -1, 1, 2**31, 2**63, 2**70, 1e308, -1e308, float("nan"), float("inf"),
        "", "a\0b", "two\nlines", "../../outside", "/outside", "x" * 300, "-o", "\ud800", "９",
        [], {}, [[]], [None] * 3, ["a"] * 1000, {"name": 1}, [{"name": "a"}], b"bytes", {1, 2},
        {"class_path": "os.system", "init_args": run}, {"_instantiator": "os.system"}, 1j,
        torch.zeros(3), torch.zeros(()), torch.tensor(float("nan")), torch.zeros(1).expand(2**40),
        torch.Size([1]), "os.system", "subprocess.Popen", ring, bomb(),
    ]  # fmt: skip
    if as_json:
        del values[-1]  # as text it would fill the memory of the test
    return values[random.integers(len(values))]


def hostile_tensor(tensor, random):
    """A tensor that is not what it seems."""
    made = [
        lambda: torch.zeros(1).expand(2**28),
        lambda: torch.zeros(1, dtype=torch.uint8).expand(2**30),
        lambda: torch.zeros(1).expand(tensor.shape),
        lambda: torch.full_like(tensor, float("nan")),
        lambda: torch.full_like(tensor, float("inf")),
        lambda: tensor.flatten()[:3].clone(),
        lambda: tensor.flatten().repeat(3),
        lambda: torch.zeros(0),
        lambda: torch.zeros((0, *tensor.shape[1:])),
        lambda: tensor[None].clone(),
        lambda: tensor.to(torch.complex64),
        lambda: tensor.double(),
        lambda: tensor.to(torch.int64),
        lambda: tensor.bool(),
        lambda: tensor.to(torch.float8_e4m3fn),
        lambda: tensor.to_sparse(),
        lambda: torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8),
        lambda: tensor.to("meta"),
        lambda: tensor.transpose(0, -1),
        lambda: 1e30 * tensor,
        lambda: "no tensor",
    ]
    return made[random.integers(len(made))]()


# ---- safetensors -------------------------------------------------------------------------------


def _parts(data):
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def _joined(header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def header_length(data, random, marker):
    """The length of the header says something else."""
    lies = [0, 1, 7, 100, len(data), len(data) * 2, 10**8, 10**8 + 1, 2**31, 2**63, 2**64 - 1]
    return struct.pack("<Q", int(lies[random.integers(len(lies))])) + data[8:]


def header_entry(data, random, marker):
    """Type, shape or place of a tensor, or the tensor itself, is another."""
    header, body = _parts(data)
    names = [name for name in header if name != "__metadata__"]
    name, other = (names[random.integers(len(names))] for _ in "ab")
    entry, size = header[name], SIZES[random.integers(len(SIZES))]
    match int(random.integers(9)):
        case 0:
            entry["dtype"] = DTYPES[random.integers(len(DTYPES))]
        case 1:
            entry["shape"] = [size, *entry["shape"][1:]]
        case 2:
            entry["shape"] = [size] * int(random.integers(0, 70))
        case 3:
            entry["data_offsets"] = [entry["data_offsets"][0], size]
        case 4:
            entry["data_offsets"] = header[other]["data_offsets"]
        case 5:
            del header[name]
        case 6:
            header[other + ".more"] = header.pop(name)
        case 7:
            header[name] = hostile_value(random, marker, as_json=True)
        case _:  # twice under one name
            text = json.dumps(header).encode()
            again = json.dumps({name: {**entry, "shape": [size]}}).encode()
            return _joined(text[:-1] + b", " + again[1:], body)
    try:
        return _joined(header, body)
    except (TypeError, ValueError):  # what JSON cannot say
        return _joined(b"{", body)


def header_text(data, random, marker):
    """The JSON itself is broken or deep."""
    header, body = _parts(data)
    text = json.dumps(header).encode()
    texts = [b"[" * 100_000, b'{"a":' * 50_000, flip_bits(text, random), overwrite(text, random),
             b"null", b"[]", b'"x"', text[:-1], text + b"}", b"\xff\xfe" + text]  # fmt: skip
    return _joined(texts[random.integers(len(texts))], body)


def _slots(tree, found):
    """Every place of a tree: (container, key)."""
    seen, waiting = set(), [tree]
    while waiting:
        value = waiting.pop()
        if id(value) in seen or not isinstance(value, dict | list):
            continue
        seen.add(id(value))
        for key in value if isinstance(value, dict) else range(len(value)):
            if found(value[key]):
                yield value, key
            waiting.append(value[key])


def metadata_value(data, random, marker):
    """A value of the metadata is of another kind, missing, or huge."""
    header, body = _parts(data)
    about = header.get("__metadata__", {})
    key = next((key for key in ("fst", "fst_style") if key in about), None)
    if key is None:  # VGG weights: plain text
        about[["topology", "padding", "pooling", "x"][random.integers(4)]] = "hostile\n" * 3
        return _joined(header | {"__metadata__": about}, body)
    tree = json.loads(about[key])
    slots = list(_slots(tree, lambda value: True))
    for _ in range(random.integers(1, 4)):
        container, place = slots[random.integers(len(slots))]
        container[place] = hostile_value(random, marker, as_json=True)
    try:
        about[key] = json.dumps(tree) if random.random() < 0.95 else "[" * 100_000
        return _joined(header, body)
    except (TypeError, ValueError):  # a value that JSON has not
        about[key] = "{}"
        return _joined(header, body)


def architecture(data, random, marker):
    """Sizes in the metadata that the tensors do not have."""
    header, body = _parts(data)
    about = header.get("__metadata__", {})
    if "fst" not in about:
        return header_entry(data, random, marker)
    tree = json.loads(about["fst"])
    key = ["num_styles", "width", "num_blocks"][random.integers(3)]
    sizes = (*SIZES, 63, 64, 16.0, 15.9, 99_999, 1e-30, 1e30, "1" * 5000, float("nan"))
    tree["architecture"][key] = sizes[random.integers(len(sizes))]
    about["fst"] = json.dumps(tree)
    return _joined(header, body)


def weights(data, random, marker):
    """A tensor of safetensors is replaced by another."""
    from safetensors.torch import load

    tensors, about = load(data), _parts(data)[0].get("__metadata__")
    name = list(tensors)[random.integers(len(tensors))]
    new = hostile_tensor(tensors[name], random)
    if not isinstance(new, torch.Tensor) or new.numel() > 10**6:
        new = torch.full_like(tensors[name], float("nan"))
    try:
        tensors[name] = new.contiguous()
        return save(tensors, about)
    except Exception:  # a kind that safetensors cannot store
        tensors.pop(name)
        return save(tensors, about)


# ---- archives of torch -------------------------------------------------------------------------


def records_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(records, packed=(), twice=()):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in records.items():
            kind = zipfile.ZIP_DEFLATED if name in packed else zipfile.ZIP_STORED
            archive.writestr(name, content, kind)
        for name in twice:
            archive.writestr(name, records[name])
    return file.getvalue()


def pickle_bytes(data, random, marker):
    """The pickle within the archive is damaged; the archive is whole."""
    records = records_of(data)
    name = next(name for name in records if name.endswith("data.pkl"))
    change = (flip_bits, overwrite, BLIND["cut_out"], BLIND["extremes"])[random.integers(4)]
    records[name] = change(records[name], random)
    return archive_of(records)


def record(data, random, marker):
    """A record is lost, cut, double, or packed so that it grows."""
    records = records_of(data)
    names = list(records)
    name = names[random.integers(len(names))]
    match int(random.integers(5)):
        case 0:
            del records[name]
        case 1:
            records[name] = records[name][: len(records[name]) // 2]
        case 2:
            return archive_of(records, twice=[name])
        case 3:
            return archive_of(records, packed=names)
        case _:
            records[name] = bytes(50_000_000)
            return archive_of(records, packed=[name])
    return archive_of(records)


def _loaded(data):
    return torch.load(io.BytesIO(data), weights_only=True)


def _stored(tree, random):
    file = io.BytesIO()
    torch.save(tree, file, _use_new_zipfile_serialization=random.random() < 0.9)
    return file.getvalue()


def value(data, random, marker):
    """Values of a checkpoint are of another kind."""
    tree = _loaded(data)
    slots = list(_slots(tree, lambda value: not isinstance(value, torch.Tensor)))
    if not slots:  # weights alone
        slots = [(tree, key) for key in tree]
    for _ in range(random.integers(1, 4)):
        container, place = slots[random.integers(len(slots))]
        container[place] = hostile_value(random, marker)
    return _stored(tree, random)


def missing(data, random, marker):
    """A key of a checkpoint is missing, or an unknown one is there."""
    tree = _loaded(data)
    slots = _slots(tree, lambda value: isinstance(value, dict) and value)
    dicts = [tree, *(container[key] for container, key in slots)]
    container = dicts[random.integers(len(dicts))]
    keys = list(container)
    container.pop(keys[random.integers(len(keys))])
    if random.random() < 0.3:
        container["more"] = hostile_value(random, marker)
    return _stored(tree, random)


def tensor(data, random, marker):
    """A weight or a moment of the optimizer is not what it seems."""
    tree = _loaded(data)
    slots = list(_slots(tree, lambda value: isinstance(value, torch.Tensor)))
    container, place = slots[random.integers(len(slots))]
    try:
        container[place] = hostile_tensor(container[place], random)
    except (RuntimeError, NotImplementedError, IndexError):  # of a scalar
        container[place] = torch.zeros(1).expand(2**28)
    return _stored(tree, random)


def payload(data, random, marker):
    """Pickled code, in some place of a checkpoint or as the whole file."""
    evil = Payload(f"touch {marker}")
    if random.random() < 0.3:
        return pickle.dumps(evil, protocol=int(random.integers(0, 5)))
    tree = _loaded(data)
    slots = list(_slots(tree, lambda value: True))
    container, place = slots[random.integers(len(slots))]
    container[place] = evil
    return pickle.dumps(tree) if random.random() < 0.2 else _stored(tree, random)


def settings(data, random, marker):
    """Hyper-parameters by which Lightning could be led to make other objects."""
    tree = _loaded(data)
    command = {"command": f"touch {marker}"}
    lures = [
        {"_class_path": "os.system"},
        {"_instantiator": "os.system"},
        {"_instantiator": "pytorch_lightning.cli.instantiate_module", "_class_path": "os.system"},
        {"_instantiator": "pytorch_lightning.cli.instantiate_module", "init_args": command},
        {"_class_path": "subprocess.Popen", "args": f"touch {marker}"},
        {"class_path": "os.system", "init_args": command},
        {"styles": [{"name": "a", "images": ["/etc/passwd"]}]},
        {"objective": {"loss_network": f"/nowhere/$(touch {marker})"}},
    ]
    hyper_parameters = tree.setdefault("hyper_parameters", {})
    if isinstance(hyper_parameters, dict):
        hyper_parameters |= lures[random.integers(len(lures))]
    if random.random() < 0.5:
        names = ("hparams_name", "hparams_type", "datamodule_hparams_name", "hparams", "callbacks")
        tree[names[random.integers(len(names))]] = "os.system"
    return _stored(tree, random)


def _blind(change):
    return lambda data, random, marker: change(data, random)


SAFETENSORS_KINDS = {name: _blind(change) for name, change in BLIND.items()} | {
    f.__name__: f
    for f in (header_length, header_entry, header_text, metadata_value, architecture, weights)
}
ARCHIVE_KINDS = {name: _blind(change) for name, change in BLIND.items()} | {
    f.__name__: f for f in (pickle_bytes, record, value, missing, tensor, payload, settings)
}


def model_of(number, seeds, marker):
    """Mutated file `number`: (seed's name, kind, bytes); seeds and kinds take turns."""
    random = np.random.default_rng((2, number))
    name = list(seeds)[number % len(seeds)]
    kinds = SAFETENSORS_KINDS if name.endswith(".safetensors") else ARCHIVE_KINDS
    kind = list(kinds)[number // len(seeds) % len(kinds)]
    return name, kind, kinds[kind](seeds[name], random, marker)
