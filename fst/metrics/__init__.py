"""How near stylized images are to their style and their photo, measured on held-out photos.

*Brushwork* and *found* judge the strokes, style and content distance and SSIM what is kept of
style and photo, *flat* and *halo* two faults that all of those overlook. `Ruler` measures all of
them; each is a torchmetrics metric with one value a style id.
"""

from fst.metrics.brushwork import (
    BRUSHWORK_LAYERS,
    BRUSHWORK_SCALES,
    Brushwork,
    Found,
    brushwork_covariances,
    brushwork_distances,
    equalised_grey,
)
from fst.metrics.distances import (
    CONTENT_LAYER,
    STYLE_LAYERS,
    ContentDistance,
    StyleDistance,
    content_layer,
    measured_layers,
    style_grams,
)
from fst.metrics.faults import Flat, Halo, calm_ground
from fst.metrics.per_style import PhotoSimilarity
from fst.metrics.ruler import COLUMNS, VIEW_SIZES_PX, Ruler, load_views

__all__ = [
    "BRUSHWORK_LAYERS",
    "BRUSHWORK_SCALES",
    "COLUMNS",
    "CONTENT_LAYER",
    "STYLE_LAYERS",
    "VIEW_SIZES_PX",
    "Brushwork",
    "ContentDistance",
    "Flat",
    "Found",
    "Halo",
    "PhotoSimilarity",
    "Ruler",
    "StyleDistance",
    "brushwork_covariances",
    "brushwork_distances",
    "calm_ground",
    "content_layer",
    "equalised_grey",
    "load_views",
    "measured_layers",
    "style_grams",
]
