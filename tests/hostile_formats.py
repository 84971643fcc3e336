"""Files of the formats that settings let in, made to do harm, each with what must come of it."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence

from PIL import Image

from contract import errors
from tests.heic_tiles import HEIC, box, dimg, tiles_behind
from tests.hostile_pictures import (
    LIMIT_BYTES,
    SIDE,
    HostilePicture,
    drawing,
    exif_bomb,
    saved,
    scan_bomb,
)

BAD = errors.InvalidImageContent
LARGE = errors.ImageTooLarge
KIND = errors.NotSupportImage

#: Width, height, and whatever else a TIFF file says of its pixels: tag, type, values.
Tags = dict[int, tuple[int, Sequence[int]]]


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP file of these chunks."""
    body = b"".join(
        struct.pack("<4sI", name, len(data)) + data + bytes(len(data) % 2) for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def canvas(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    """The chunk of a WebP file that tells its size."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X", bytes([flags, 0, 0, 0]) + sides


def of_webp() -> Iterator[HostilePicture]:
    plain = saved(drawing(), "WEBP")
    image = (plain[12:16], plain[20:])
    yield HostilePicture(
        "WebP of 16,777,216 x 16,777,216", riff(canvas(2**24, 2**24), image), LARGE
    )
    yield HostilePicture("WebP of 16,384 x 16,384, lossless", _lossless(16_384), LARGE)
    yield HostilePicture("WebP that says 4096 x 4096 of less", riff(canvas(4096, 4096), image), BAD)
    for lossless in (False, True):
        data = saved(drawing("RGBA", 4096), "WEBP", lossless=lossless, method=0)
        kind = "lossless" if lossless else "lossy"
        yield HostilePicture(f"WebP of 4096 x 4096, {kind}", data, None)
    images = [drawing().rotate(angle) for angle in range(1, 60)]
    film = saved(drawing(), "WEBP", save_all=True, append_images=images)
    yield HostilePicture("WebP of 60 frames", film, None)
    yield HostilePicture("WebP, its second frame cut off", film[: len(film) // 2], BAD)
    frame = b"ANMF", bytes(6) + struct.pack("<I", 255)[:3] * 2 + bytes(4)
    empty = riff(canvas(SIDE, SIDE, 2), (b"ANIM", bytes(6)), *[frame] * 9000)
    yield HostilePicture("WebP of 9,000 empty frames", empty, BAD)
    yield HostilePicture("WebP of 400,000 chunks", riff(image, *[(b"aaaa", b"")] * 400_000), BAD)
    bomb = (b"EXIF", exif_bomb(20_000, 3_000_000))
    yield HostilePicture("WebP with 60 GB of EXIF", riff(canvas(SIDE, SIDE, 8), image, bomb), None)
    profile = (b"ICCP", bytes(3_000_000))
    yield HostilePicture(
        "WebP with 3 MB of ICC", riff(canvas(SIDE, SIDE, 32), profile, image), None
    )
    yield HostilePicture("WebP of 4 GiB", plain[:4] + b"\xff" * 4 + plain[8:], BAD)
    yield HostilePicture("WebP, a chunk of 4 GiB", plain[:16] + b"\xff" * 4 + plain[20:], BAD)
    yield HostilePicture("WebP without a picture", riff(canvas(SIDE, SIDE)), BAD)
    yield HostilePicture("WebP of its signature alone", plain[:16], BAD)


def _lossless(side: int) -> bytes:
    bits = (side - 1) | (side - 1) << 14
    return riff((b"VP8L", b"\x2f" + struct.pack("<I", bits) + bytes(50)))


def of_gif() -> Iterator[HostilePicture]:
    plain = saved(drawing(), "GIF")
    head, frame = plain[: 13 + 768], plain[plain.index(b",", 13 + 768) :]
    screen = plain[:6] + struct.pack("<HH", 65_535, 65_535) + plain[10:]
    yield HostilePicture("GIF of 65,535 x 65,535", screen, LARGE)
    far = head + frame[:1] + struct.pack("<HH", 65_000, 65_000) + frame[5:]
    yield HostilePicture("GIF whose frame is at 65,000", far, LARGE)
    for interlace in (0, 1):
        data = saved(drawing("L", 4096), "GIF", interlace=interlace)[: LIMIT_BYTES - 1]
        yield HostilePicture(f"GIF of 4096 x 4096, interlaced {interlace}", data, None)
    images = [Image.effect_mandelbrot((SIDE, SIDE), (-1, -1, 1, 1), n) for n in range(2, 40)]
    film = saved(drawing(), "GIF", save_all=True, append_images=images)
    yield HostilePicture("GIF of many frames", film, None)
    comment = b"!\xfe\1a\0"
    yield HostilePicture("GIF with 900 comments", head + comment * 900 + frame, None)
    yield HostilePicture("GIF with 700,000 comments", head + comment * 700_000 + frame, BAD)
    blocks = b"!\xfe" + b"\1a" * 1_900_000 + b"\0"
    yield HostilePicture("GIF with a comment of 1,900,000 blocks", head + blocks + frame, BAD)
    yield HostilePicture("GIF without a frame", head + b";", BAD)
    yield HostilePicture("GIF of codes of 99 bits", head + frame[:10] + b"\x63" + frame[11:], BAD)
    yield HostilePicture("GIF of its signature alone", b"GIF89a", BAD)
    yield HostilePicture("GIF and JavaScript, let in", b"GIF89a=1;alert(1);//" + bytes(100), BAD)


def bitmap(
    width: int,
    height: int,
    bits: int = 1,
    compression: int = 0,
    colours: int = 2,
    body: bytes = b"",
) -> bytes:
    """A BMP file."""
    fields = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, colours, 0
    )
    palette = b"\0\0\0\0\xff\xff\xff\0"
    return b"BM" + struct.pack("<III", 0, 0, 62) + fields + palette + body


def of_bmp() -> Iterator[HostilePicture]:
    rows = bytes(512 * 2048) + b"\xff" * (512 * 2048)
    yield HostilePicture("BMP of 4096 x 4096", bitmap(4096, 4096, body=rows), None)
    yield HostilePicture("BMP of 4096 x 4096, from above", bitmap(4096, -4096, body=rows), None)
    yield HostilePicture("BMP of 2,147,483,647 a side", bitmap(2**31 - 1, 2**31 - 1), LARGE)
    yield HostilePicture("BMP of -2,147,483,648 lines", bitmap(300, -(2**31)), LARGE)
    yield HostilePicture("BMP of -300 a line", bitmap(-300, 300), BAD)
    yield HostilePicture("BMP of 0 lines", bitmap(300, 0), BAD)
    yield HostilePicture("BMP of too few lines", bitmap(300, 300, body=bytes(100)), BAD)
    ends = b"\0\0" * 1_900_000
    yield HostilePicture("BMP of 1,900,000 ends of line", bitmap(4096, 4096, 8, 1, body=ends), KIND)
    yield HostilePicture("BMP with a JPEG in it", bitmap(300, 300, 0, 4), KIND)
    yield HostilePicture("BMP of 7 bits", bitmap(300, 300, 7, body=rows), BAD)
    yield HostilePicture("BMP of 4 billion colours", bitmap(300, 300, 8, 0, 2**32 - 1, rows), BAD)
    yield HostilePicture("BMP of its header alone", bitmap(300, 300)[:20], BAD)


def tiff(tags: Tags, pixels: bytes, more: bytes = b"", following: int = 0) -> bytes:
    """A TIFF file with these tags, and entries as they are to stand there."""
    place = 8 + len(pixels)
    rows, values = [], b""
    entries = len(tags) + len(more) // 12
    after = place + 2 + 12 * entries + 4
    for tag, (kind, numbers) in sorted(tags.items()):
        packed = struct.pack(f"<{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        field = packed.ljust(4, b"\0")
        if len(packed) > 4:
            field = struct.pack("<I", after + len(values))
            values += packed
        rows.append(struct.pack("<HHI", tag, kind, len(numbers)) + field)
    directory = struct.pack("<H", entries) + b"".join(rows) + more + struct.pack("<I", following)
    return b"II*\0" + struct.pack("<I", place) + pixels + directory + values


def grey(
    width: int, height: int, length: int, compression: int = 1, **changed: Sequence[int]
) -> Tags:
    """The tags of a picture in grey, in one strip that begins at 8."""
    tags: Tags = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [8]),
        259: (3, [compression]),
        262: (3, [1]),
        273: (4, [8]),
        277: (3, [1]),
        278: (4, [height]),
        279: (4, [length]),
    }
    return tags | {int(name[1:]): (4, values) for name, values in changed.items()}


def of_tiff() -> Iterator[HostilePicture]:
    pixels = bytes(range(256)) * SIDE
    size = len(pixels)
    plain = grey(SIDE, SIDE, size)
    yield HostilePicture(
        "TIFF of 4 billion a side", tiff(grey(2**32 - 1, 2**32 - 1, 9), pixels), LARGE
    )
    yield HostilePicture("TIFF of 0 lines", tiff(grey(SIDE, 0, size), pixels), errors.ImageTooSmall)
    yield HostilePicture("TIFF of too few lines", tiff(plain, pixels[:1000]), BAD)
    loop = tiff(plain, pixels, following=8 + size)
    yield HostilePicture("TIFF whose pages never end", loop, None)
    pages = [drawing().rotate(angle) for angle in range(1, 15)]
    film = saved(drawing(), "TIFF", save_all=True, append_images=pages)
    yield HostilePicture("TIFF of 15 pages", film, None)
    bomb = b"".join(struct.pack("<HHII", 60_000 + n, 1, 3_000_000, 8) for n in range(900))
    filled = pixels + bytes(3_000_000)
    yield HostilePicture("TIFF with 2.7 GB of metadata", tiff(plain, filled, bomb), None)
    many = struct.pack("<HHII", 60_000, 1, 1, 0) * 60_000
    yield HostilePicture("TIFF with 60,000 tags", tiff(plain, pixels, many), BAD)
    twice = grey(SIDE, SIDE, 0, _273=[8] * SIDE, _279=[size] * SIDE, _278=[1])
    yield HostilePicture("TIFF whose strips are all its bytes", tiff(twice, pixels), BAD)
    strips = grey(300, 100_000, 0, _273=[8] * 30_000, _279=[1] * 30_000, _278=[1])
    yield HostilePicture("TIFF of 30,000 strips", tiff(strips, pixels), BAD)
    tile = grey(SIDE, SIDE, 0, _322=[65_536], _323=[65_536], _324=[8], _325=[size])
    yield HostilePicture("TIFF of a tile of 4 billion pixels", tiff(tile, pixels), BAD)
    packed = zlib.compress(bytes(2**23) + b"\xff" * 2**23, 9)
    deflated = tiff(grey(4096, 4096, len(packed), 8), packed)
    yield HostilePicture("TIFF of 4096 x 4096, deflated", deflated, None)
    endless = zlib.compress(bytes(2**28), 9)
    more = tiff(grey(4096, 4096, len(endless), 8), endless)
    yield HostilePicture("TIFF that inflates beyond its rows", more, None, blank=True)
    scans = scan_bomb(4096, 80_000)
    jpeg = tiff(grey(4096, 4096, len(scans), 7), scans)
    yield HostilePicture("TIFF of a JPEG of 80,000 scans", jpeg, BAD)
    old = tiff(grey(SIDE, SIDE, size, 6), pixels)
    yield HostilePicture("TIFF of a JPEG of the old kind", old, KIND)
    yield HostilePicture(
        "TIFF of compression 50,001", tiff(grey(SIDE, SIDE, size, 50_001), pixels), KIND
    )
    yield HostilePicture(
        "TIFF of 4 billion bits", tiff(grey(SIDE, SIDE, size, _258=[2**32 - 1]), pixels), KIND
    )
    yield HostilePicture("TIFF of floats", saved(drawing("F"), "TIFF"), KIND)
    yield HostilePicture("TIFF whose directory is away", b"II*\0\xff\xff\xff\x7f", BAD)
    yield HostilePicture("TIFF of its signature alone", b"MM\0*", BAD)
    yield HostilePicture("BigTIFF", b"II+\0\x08\0\0\0" + bytes(300), KIND)


def with_sides(data: bytes, width: int, height: int) -> bytes:
    """The file with another size in its boxes."""
    place = data.index(b"ispe") + 8
    return data[:place] + struct.pack(">II", width, height) + data[place + 8 :]


def of_boxes() -> Iterator[HostilePicture]:
    plain = saved(drawing(), "AVIF")
    camera = (HEIC / "drawing.heic").read_bytes()
    for name, data in (("AVIF", plain), ("HEIC", camera)):
        huge = with_sides(data, 2**32 - 1, 2**32 - 1)
        yield HostilePicture(f"{name} of 4 billion a side", huge, LARGE)
        start = data[: data.index(b"meta") - 4]
        yield HostilePicture(f"{name} of its brands alone", start, BAD)
        yield HostilePicture(f"{name}, a box of 3 bytes", start + b"\0\0\0\3meta", BAD)
        long = struct.pack(">I4sQ", 1, b"meta", 2**64 - 1)
        yield HostilePicture(f"{name}, a box of 2**64 bytes", start + long, BAD)
        yield HostilePicture(f"{name} of 400,000 boxes", data + box(b"free") * 400_000, BAD)
        yield HostilePicture(f"{name}, half of it", data[: len(data) // 2], BAD)
        references = _references(start)
        yield HostilePicture(f"{name} of a million references", references, BAD)
    claims = with_sides(plain, 300, 4000)
    yield HostilePicture("AVIF that says it is taller", claims, None)
    lie = (HEIC / "lying-size.heic").read_bytes()
    yield HostilePicture("HEIC of 8192 x 8192 that says 300 x 300", lie, BAD)
    # Behind the `meta` that is judged one of 256 tiles, which took 25 s of the processor.
    second = tiles_behind(camera, "large", (4096, 4096), 16, 16, (4096, 4096))
    yield HostilePicture("HEIC with a second meta box, of large tiles", camera + second, BAD)
    large = saved(drawing("RGB", 4096), "AVIF", speed=10, quality=40)
    yield HostilePicture("AVIF of 4096 x 4096", large, None)
    yield HostilePicture("HEIC of 4096 x 4096", (HEIC / "large.heic").read_bytes(), None)
    images = [drawing().rotate(angle) for angle in range(1, 20)]
    film = saved(drawing(), "AVIF", save_all=True, append_images=images, speed=10)
    yield HostilePicture("AVIF of 20 frames", film, None)
    yield HostilePicture("HEIC of two pictures", (HEIC / "sequence.heic").read_bytes(), None)
    exif = saved(drawing(), "AVIF", exif=exif_bomb(700, 60_000), speed=10)
    yield HostilePicture("AVIF with 42 MB of EXIF in 68 kB", exif, None)
    yield HostilePicture(
        "AVIF that says it is HEIC", plain.replace(b"ftypavif", b"ftypheic", 1), BAD
    )
    yield HostilePicture(
        "HEIC that says it is AVIF", camera.replace(b"ftypheic", b"ftypavif", 1), BAD
    )


def _references(start: bytes) -> bytes:
    """A file whose items refer to 10,000 others each, all in the same bytes."""
    entries = box(b"dimg", struct.pack(">HH", 1, 10_000)) * 900
    return start + meta([1], entries, {}) + bytes(30_000)


def meta(items: Sequence[int], references: bytes, sizes: dict[int, int]) -> bytes:
    """The box of a file whose first item is the primary one, with square items."""
    entries = [box(b"infe", b"\2\0\0\0", struct.pack(">HH", item, 0), b"hvc1\0") for item in items]
    sides = [box(b"ispe", bytes(4), struct.pack(">II", side, side)) for side in sizes.values()]
    owned = [struct.pack(">HBB", item, 1, number) for number, item in enumerate(sizes, 1)]
    return box(
        b"meta",
        bytes(4),
        box(b"pitm", bytes(4), struct.pack(">H", items[0])),
        box(b"iinf", bytes(4), struct.pack(">H", len(items)), *entries),
        box(b"iref", bytes(4), references),
        box(
            b"iprp",
            box(b"ipco", *sides),
            box(b"ipma", bytes(4), struct.pack(">I", len(owned)), *owned),
        ),
    )


def of_tiles() -> Iterator[HostilePicture]:
    """Images that are made of others: how much work a file may ask for."""
    for name, brand in (("AVIF", b"avif"), ("HEIC", b"heic")):
        start = box(b"ftyp", brand, bytes(4), b"mif1")
        large = start + meta([1, 2], dimg(1, [2]), {1: 300, 2: 11_000})
        yield HostilePicture(f"{name} of a tile of 11,000 x 11,000", large, BAD)
        many = start + meta([1, 2], dimg(1, [2] * 9000), {1: 4096, 2: 512})
        yield HostilePicture(f"{name} of a tile 9,000 times", many, BAD)
        nested = start + meta([1, 2, 3], dimg(1, [2] * 9) + dimg(2, [3] * 9), {1: 300, 2: 9, 3: 9})
        yield HostilePicture(f"{name} of images of images of images", nested, BAD)
        itself = start + meta([1], dimg(1, [1]), {1: 300})
        yield HostilePicture(f"{name} that is made of itself", itself, BAD)
        unknown = start + meta([1, 2], dimg(1, [2]), {1: 300})
        yield HostilePicture(f"{name} of a tile without a size", unknown, BAD)


def hostile_formats() -> Sequence[HostilePicture]:
    """All of them; no two have the same name."""
    # Pillow warns of what it is told to write.
    with warnings.catch_warnings(action="ignore"):
        made = [
            one for kind in (of_webp, of_gif, of_bmp, of_tiff, of_boxes, of_tiles) for one in kind()
        ]
    assert len({one.name for one in made}) == len(made)
    assert max(len(one.data) for one in made) < LIMIT_BYTES, "refused for its bytes alone"
    return made
