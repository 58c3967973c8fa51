"""Colours of things and of grounds, as the captions name them."""

from typing import NamedTuple

Colour = tuple[int, ...]
"""Red, green, blue; a fourth number from 0 to 254 lets what lies below shine through."""
PAINT: dict[str, Colour] = {
    "white": (233, 233, 228),
    "gray": (142, 144, 146),
    "black": (44, 45, 50),
    "red": (164, 66, 52),
    "blue": (62, 98, 156),
    "yellow": (222, 184, 62),
    "green": (74, 122, 70),
    "brown": (120, 86, 62),
    "orange": (212, 124, 52),
}
ASPHALT, CONCRETE, DIRT = (98, 99, 102), (160, 159, 154), (176, 152, 116)
MARK, FOAM = (222, 221, 212), (236, 240, 236)


class Soil(NamedTuple):
    """A ground: dark and light end of its colours, lumps a side, their shading, trees a side."""

    dark: Colour
    light: Colour
    cells: int = 22
    relief: float = 0.0
    crowns: int = 0


GROUND: dict[str, Soil] = {
    "meadow": Soil((70, 94, 50), (128, 140, 84)),
    "lawn": Soil((76, 112, 58), (112, 144, 82)),
    "khaki": Soil((158, 136, 100), (206, 186, 148), relief=0.10),
    "brown": Soil((104, 82, 62), (152, 126, 98), relief=0.10),
    "gray": Soil((126, 122, 114), (172, 168, 158), relief=0.08),
    "sand": Soil((196, 174, 128), (230, 212, 170)),
    "city": Soil((104, 104, 96), (148, 144, 134), 34),
    "forest": Soil((18, 38, 20), (86, 116, 62), crowns=32),
    "dark forest": Soil((12, 30, 22), (54, 86, 56), crowns=32),
    "autumn forest": Soil((58, 44, 22), (158, 130, 66), crowns=32),
    "blue water": Soil((38, 82, 116), (62, 110, 142), 30, 0.05),
    "green water": Soil((48, 92, 74), (76, 120, 96), 30, 0.05),
    "dark water": Soil((24, 40, 44), (40, 58, 60), 30, 0.04),
    "brown water": Soil((112, 96, 66), (138, 120, 86), 30, 0.04),
    "green crop": Soil((66, 102, 48), (104, 138, 72)),
    "dark crop": Soil((38, 66, 38), (62, 92, 56)),
    "yellow crop": Soil((182, 160, 84), (216, 196, 120)),
    "brown crop": Soil((112, 84, 60), (146, 114, 86)),
}


def shaded(colour: Colour, factor: float) -> Colour:
    return tuple(max(0, min(255, round(part * factor))) for part in colour)
