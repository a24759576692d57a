"""A contact sheet per image: a row per layer before and after the method's change, a column per cluster.

Colours as in the official code: the jet map, six parts of heat to four of image, brought to the full range again.

Does not: compute maps.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

CELL, GAP, MARGIN = 64, 2, 176
"""Side of a picture in the sheet, space between two, and width of the names at the left, in pixels."""
LINE = 16
HEAT_SHARE = 0.6
Heats = Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Layer → (before, after), each (R, H, W) from 0 to 1."""


def contact_sheet(pixels_HWC: NDArray[np.uint8], heats: Heats) -> "Image":
    """The image with all its heat maps."""
    from PIL import Image, ImageDraw

    clusters = max(len(before) for before, _ in heats.values())
    step = CELL + GAP
    size = (MARGIN + (clusters + 1) * step, LINE + 2 * len(heats) * step)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 2), "image", "black")
    for cluster in range(clusters):
        draw.text((MARGIN + (cluster + 1) * step, 2), str(cluster), "black")
    rows = [(name, when, maps) for name, pair in heats.items() for when, maps in zip(TIMES, pair, strict=True)]
    for row, (name, when, maps_RHW) in enumerate(rows):
        top = LINE + row * step
        draw.text((4, top + CELL // 2 - 12), f"{name}\n{when}", "black")
        sheet.paste(_cell(pixels_HWC), (MARGIN, top))
        for cluster, heat_HW in enumerate(maps_RHW):
            sheet.paste(_cell(overlay(pixels_HWC, heat_HW)), (MARGIN + (cluster + 1) * step, top))
    return sheet


TIMES = ("before the change", "after the change")


def overlay(pixels_HWC: NDArray[np.uint8], heat_HW: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Heat over an image, (H, W, 3), uint8."""
    from matplotlib import colormaps

    coloured_HWC: NDArray[Any] = colormaps["jet"](heat_HW)[..., :3]
    mixed_HWC = HEAT_SHARE * coloured_HWC + (1 - HEAT_SHARE) * pixels_HWC / 255
    span = mixed_HWC.max() - mixed_HWC.min()
    full_HWC = (mixed_HWC - mixed_HWC.min()) / span if span > 0 else mixed_HWC
    return np.rint(255 * full_HWC).astype(np.uint8)


def _cell(pixels_HWC: NDArray[np.uint8]) -> "Image":
    from PIL import Image

    small = max(pixels_HWC.shape) <= CELL  # then every pixel is to be seen
    return Image.fromarray(pixels_HWC).resize((CELL, CELL), Image.Resampling.NEAREST if small else None)
