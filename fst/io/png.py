"""What a PNG's chunks say of its colours: cICP, gAMA and cHRM, which libvips leaves alone."""

import struct
from typing import Any, BinaryIO

import numpy as np

from fst.io.decode import Unsupported

# Chromaticities x, y of red, green, blue and white (ITU-T H.273, table 2).
_PRIMARIES = {
    1: (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290),  # BT.709, sRGB
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290),  # BT.2020
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.3127, 0.3290),  # Display P3
}
# Exponents of linear light (H.273, table 3); None: the curve of sRGB, or one taken for it.
_TRANSFERS = {1: None, 4: 2.2, 5: 2.8, 6: None, 8: 1.0, 13: None, 14: None, 15: None}
_SRGB_GAMMA, _NEAR = 1 / 2.2, 0.05  # as libpng: a gamma so near is that of sRGB
_ASKED = (b"IHDR", b"cICP", b"sRGB", b"iCCP", b"gAMA", b"cHRM", b"acTL")


def read_chunks(file: BinaryIO) -> dict[bytes, bytes]:
    """The chunks about colour and animation that stand before the pixels."""
    file.seek(8)
    chunks: dict[bytes, bytes] = {}
    while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
        (length,) = struct.unpack(">I", head[:4])
        if head[4:] in _ASKED:
            chunks[head[4:]] = file.read(min(length, 32))
            length -= len(chunks[head[4:]])
        file.seek(length + 4, 1)
    return chunks


def colours_of(chunks: dict[bytes, bytes]) -> tuple[float | None, np.ndarray | None] | None:
    """How colours become sRGB, or None where nothing is to do or a profile says it.

    In the order of the PNG specification (third edition, 4.3): cICP, iCCP, sRGB, gAMA and cHRM.

    Returns:
        The exponent of linear light (None: the curve of sRGB), and the matrix (3, 3) that takes
        linear light to that of sRGB (None: it is that).

    Raises:
        Unsupported: cICP says high dynamic range, or colours that are not known.
    """
    exponent, corners = None, _PRIMARIES[1]
    if len(chunks.get(b"cICP", b"")) == 4:
        primaries, transfer, matrix, full = chunks[b"cICP"]
        if primaries not in _PRIMARIES or transfer not in _TRANSFERS or matrix or not full:
            name = {16: "PQ, high dynamic range", 18: "HLG, high dynamic range"}.get(transfer)
            given = name or f"{primaries}, {transfer}, {matrix}, {full}"
            raise Unsupported(f"colours by cICP ({given})", "sRGB")
        exponent, corners = _TRANSFERS[transfer], _PRIMARIES[primaries]
    elif b"iCCP" not in chunks and b"sRGB" not in chunks and len(chunks.get(b"gAMA", b"")) == 4:
        gamma = struct.unpack(">I", chunks[b"gAMA"])[0] / 1e5
        if gamma and abs(gamma / _SRGB_GAMMA - 1) > _NEAR:
            exponent = 1 / gamma
        if len(chunks.get(b"cHRM", b"")) == 32:
            x_y = [value / 1e5 for value in struct.unpack(">8I", chunks[b"cHRM"])]
            corners = (*x_y[2:], *x_y[:2])
    to_srgb = None if np.allclose(corners, _PRIMARIES[1], atol=0.002) else _matrix(corners)
    return None if exponent is None and to_srgb is None else (exponent, to_srgb)


def to_srgb(image: Any, exponent: float | None, matrix: np.ndarray | None) -> Any:
    """An RGB image of libvips, of 8 or 16 bits, in sRGB."""
    depth = image.interpretation
    if exponent is None:
        linear = image.colourspace("scrgb")
    else:
        linear = (image / (65535 if depth == "rgb16" else 255)) ** exponent
    if matrix is not None:
        # recomb would do it in libvips' threads, see `fst.io.vips`.
        red, green, blue = ([linear[i] * row[i] for i in range(3)] for row in matrix.tolist())
        linear = sum(red[1:], red[0]).bandjoin([sum(x[1:], x[0]) for x in (green, blue)])
    return linear.copy(interpretation="scrgb").colourspace(depth)


def _matrix(corners: tuple[float, ...]) -> np.ndarray | None:
    """Linear light of these primaries to that of sRGB, white staying white."""
    try:
        to_xyz = [_to_xyz(np.reshape(given, (4, 2))) for given in (corners, _PRIMARIES[1])]
        return np.linalg.solve(to_xyz[1], to_xyz[0])
    except (np.linalg.LinAlgError, ZeroDivisionError):  # such corners mean nothing
        return None


def _to_xyz(points: np.ndarray) -> np.ndarray:
    """(3, 3), its columns red, green and blue, so that their sum is white (SMPTE RP 177)."""
    columns = np.stack([(x / y, 1, (1 - x - y) / y) for x, y in points], axis=1)
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])
