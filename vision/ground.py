"""What stands in the place of transparency: a ground on which the object shows.

Knows of Pillow alone, as `vision.picture` does.
"""

from __future__ import annotations

from PIL import Image, ImageChops

#: What shows on white is set on white; most shops' pictures have that ground anyway.
WHITE = (255, 255, 255)
#: For what does not show on white. Of two greys and black this one was found best by photographs.
DARK = (64, 64, 64)
#: A pixel shows on white if its darkest channel is darker than white by this, of 255.
DIFFERENCE = 16
#: The object shows if this share of it does. A white thing with a black print on a fifth of it was
#: found for the print, and mistaken for others that have one.
SHARE = 0.25
#: The most by which the levels of a channel differ on a picture of one colour, of 255.
NOISE = 4


def on_ground(image: Image.Image) -> Image.Image:
    """Return an RGBA picture as RGB: on white if the object shows there, on dark grey otherwise.

    The colours of pixels that are transparent altogether have no influence.
    """
    alpha = image.getchannel("A")
    counts = alpha.histogram()
    if counts[255] == sum(counts):
        return image.convert("RGB")
    on_white = _composed(image, WHITE)
    # What is less than half as solid as the rest is a shadow or an edge.
    highest = max(level for level in range(256) if counts[level])
    solid = alpha.point([255 if 2 * level >= highest > 0 else 0 for level in range(256)])
    return on_white if _shows(on_white, solid) else _composed(image, DARK)


def is_of_one_colour(image: Image.Image) -> bool:
    """Return whether nothing is to be seen on an RGB picture, whatever its colour.

    Noise of `NOISE` levels is nothing.
    """
    counts = image.histogram()
    channels = (counts[start : start + 256] for start in range(0, len(counts), 256))
    levels = ([level for level, count in enumerate(each) if count] for each in channels)
    return all(each[-1] - each[0] <= NOISE for each in levels)


def _composed(image: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    ground = Image.new("RGBA", image.size, (*colour, 255))
    return Image.alpha_composite(ground, image).convert("RGB")


def _shows(on_white: Image.Image, solid: Image.Image) -> bool:
    """Return whether enough of what is solid differs from white."""
    red, green, blue = on_white.split()
    counts = ImageChops.darker(ImageChops.darker(red, green), blue).histogram(solid)
    return sum(counts[: 256 - DIFFERENCE]) >= SHARE * sum(counts)
