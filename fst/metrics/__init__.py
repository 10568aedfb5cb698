"""How near stylized images are to their style and their photo, measured on held-out photos.

*Brushwork* and *found* judge the strokes, style and content distance, SSIM and *tone* what is kept
of style and photo, *flat*, *halo*, *contrast* and *fringes* faults that those do not measure.
`Ruler` measures all of them; each is a torchmetrics metric with one value a style id.
"""

from fst.metrics.brushwork import Brushwork, Found, brushwork_covariances
from fst.metrics.distances import (
    ContentDistance,
    PhotoSimilarity,
    StyleDistance,
    Tone,
    content_layer,
    measured_layers,
    style_grams,
)
from fst.metrics.faults import Contrast, Flat, Fringes, Halo
from fst.metrics.ruler import COLUMNS, Ruler, load_views

__all__ = [
    "COLUMNS",
    "Brushwork",
    "ContentDistance",
    "Contrast",
    "Flat",
    "Found",
    "Fringes",
    "Halo",
    "PhotoSimilarity",
    "Ruler",
    "StyleDistance",
    "Tone",
    "brushwork_covariances",
    "content_layer",
    "load_views",
    "measured_layers",
    "style_grams",
]
