"""Frames of high dynamic range as ones that a screen, and the network, can take."""

import numpy as np

PQ, HLG = 16, 18  # as files number transfer functions (ITU-T H.273, table 3)
WHITE_NITS = 203  # of a white page (ITU-R BT.2408, section 2.2)
HLG_PEAK_NITS = 1000
KNEE = 0.7  # of white in linear light: below, brightness stays; above, it is rolled off towards 1
GAMMA = 2.2

# ITU-R BT.2087, section 4: linear BT.2020 to BT.709.
_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    dtype=np.float32,
)
_LUMINANCE_2020 = np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)


def to_sdr(levels: np.ndarray, transfer: int) -> np.ndarray:
    """Tone-map a frame.

    Linear light comes from the inverse of the transfer function, 203 nits being white; colours go
    to BT.709; what is brighter than 0.7 of white is rolled off exponentially, by the largest of the
    three channels, so that hues stay.

    Args:
        levels: (H, W, 3) uint16 of BT.2020, 65535 being full.
        transfer: `PQ` (SMPTE ST 2084) or `HLG` (ARIB STD-B67).

    Returns:
        (H, W, 3) uint8.
    """
    table = _linear_light(transfer)
    light = table[levels]  # (H, W, 3)
    if transfer == HLG:  # the display's own gamma, BT.2100 table 5
        light = light * (light @ _LUMINANCE_2020)[..., None] ** 0.2 * (HLG_PEAK_NITS / WHITE_NITS)
    light = np.maximum(light @ _TO_709.T, 0)
    brightest = light.max(axis=2, keepdims=True)
    rolled = 1 - (1 - KNEE) * np.exp(-np.maximum(brightest - KNEE, 0) / (1 - KNEE))
    light = light * np.where(brightest > KNEE, rolled / np.maximum(brightest, KNEE), 1)
    return np.rint(255 * light.clip(0, 1) ** (1 / GAMMA)).astype(np.uint8)


def _linear_light(transfer: int) -> np.ndarray:
    """Of each of 65536 levels: in units of white for PQ, of the scene's brightest for HLG."""
    signal = np.arange(65536, dtype=np.float64) / 65535
    if transfer == PQ:  # SMPTE ST 2084, equation 4.1
        root = signal ** (32 / 2523)
        nits = 10000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (
            8192 / 1305
        )
        return (nits / WHITE_NITS).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073  # BT.2100, table 5
    light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return light.astype(np.float32)
