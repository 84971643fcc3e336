"""Image files that strangers might send, made by code, each with what must come of it."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import ExifTags, Image

from contract import errors

JPEG_START = b"\xff\xd8"
PNG_START = b"\x89PNG\r\n\x1a\n"
#: Files that a sender may send at all are smaller than this.
LIMIT_BYTES = 3_932_160
#: A side of the pictures that decode, in pixels.
SIDE = 256


@dataclass(frozen=True)
class HostilePicture:
    """A file, and the fault that it must end with; None where a picture must come of it."""

    name: str
    data: bytes
    fault: type[errors.ContractError] | None
    blank: bool = False  #: whether nothing is on it, so that there is nothing to search for


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return a picture as a file of this format."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def drawing(mode: str = "RGB", side: int = SIDE) -> Image.Image:
    """A picture with a gradient and an edge, so that no two places look the same."""
    grey = Image.linear_gradient("L").resize((side, side))
    image = Image.merge("RGB", (grey, grey.rotate(90), grey.rotate(180)))
    image.paste((220, 40, 30), (side // 4, side // 4, side // 2, side // 2))
    return image.convert(mode)


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    depth: int = 8,
    colour: int = 2,
    size: tuple[int, int] = (SIDE, SIDE),
    before: bytes = b"",
    body: bytes | None = None,
    interlaced: int = 0,
) -> bytes:
    """A PNG file of zeros and below of ones, or with these chunks in the place of its pixels."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    if body is None:
        length = (size[0] * channels * depth + 7) // 8
        rows = [b"\0" + sample * length for sample in (b"\0", b"\xff")]
        half = size[1] // 2
        body = chunk(b"IDAT", zlib.compress(rows[0] * half + rows[1] * (size[1] - half)))
    return PNG_START + chunk(b"IHDR", header) + before + body + chunk(b"IEND", b"")


def deflated(size: int) -> bytes:
    """So many zeros, deflated: the same block again and again, each without a look back."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    count = size // 2**20
    checksum = ((count * 2**20 % 65_521) << 16) | 1
    return b"\x78\xda" + block * count + b"\x03\0" + struct.pack(">I", checksum)


def segment(marker: int, body: bytes) -> bytes:
    """A marker segment of a JPEG file."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    """The JPEG file with these segments right after its start."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def with_size(jpeg: bytes, width: int, height: int) -> bytes:
    """The JPEG file with another size in its frame header."""
    place = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:place] + struct.pack(">HH", height, width) + jpeg[place + 4 :]


def scan_bomb(side: int, scans: int, *, short: bool = True) -> bytes:
    """A progressive JPEG that goes over its coefficients once, and so often again.

    The `short` scans refine nothing: runs of blocks that end at once, 32,767 at a time
    (EOB14). The others have a bit for each block.
    """
    frame = segment(0xC2, struct.pack(">BHHB3B", 8, side, side, 1, 1, 0x11, 0))
    quantities = segment(0xDB, b"\0" + bytes([1]) * 64)
    # One DC code for "no difference", one AC code for a run of 2**14 blocks and more.
    codes = segment(0xC4, b"\0" + bytes([1]) + bytes(15) + b"\0")
    codes += segment(0xC4, b"\x10" + bytes([1]) + bytes(15) + b"\xe0")
    blocks = ((side + 7) // 8) ** 2
    first = segment(0xDA, bytes([1, 1, 0x00, 0, 0, 0])) + bytes((blocks + 7) // 8)
    runs = -(-blocks // 0x7FFF)
    bits = ("0" + "1" * 14) * runs
    bits += "1" * (-len(bits) % 8)
    packed = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    again = segment(0xDA, bytes([1, 1, 0x00, 1, 63, 0])) + packed
    if not short:
        again = segment(0xDA, bytes([1, 1, 0x00, 0, 0, 0x10])) + bytes((blocks + 7) // 8)
    return JPEG_START + quantities + frame + codes + first + again * scans + b"\xff\xd9"


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    return tags


def exif_bomb(entries: int, size: int) -> bytes:
    """A TIFF directory all of whose entries point to the same bytes: `entries` x `size` read."""
    head = b"MM\0*" + struct.pack(">IH", 8, entries)
    start = len(head) + 12 * entries + 4
    rows = (struct.pack(">HHII", tag, 1, size, start) for tag in range(entries))
    return head + b"".join(rows) + bytes(4 + size)


def in_exif_segments(tiff: bytes) -> list[bytes]:
    """The bytes in as many Exif segments of a JPEG file as it takes."""
    parts = [tiff[at : at + 65_000] for at in range(0, len(tiff), 65_000)]
    return [segment(0xE1, b"Exif\0\0" + part) for part in parts]


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("run.sh", "#!/bin/sh\n")
    return file.getvalue()


def of_other_formats() -> Iterator[HostilePicture]:
    """What is no JPEG or PNG, whatever its name says."""
    image, frames = drawing(), [drawing().rotate(angle) for angle in (90, 180)]
    files = {
        "animated GIF": saved(image, "GIF", save_all=True, append_images=frames),
        "animated WebP": saved(image, "WEBP", save_all=True, append_images=frames),
        "TIFF of three pages": saved(image, "TIFF", save_all=True, append_images=frames),
        "BMP": saved(image, "BMP"),
        "ICO": saved(image, "ICO"),
        "PDF": saved(image, "PDF"),
        "EPS, which a PostScript interpreter would run": saved(image, "EPS"),
        "PostScript": b"%!PS\n(/etc/passwd) (r) file\n",
        "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(200),
        "PPM": saved(image, "PPM"),
        "TGA": saved(image, "TGA"),
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "XML with entities": b"<!DOCTYPE a [<!ENTITY b 'c'>]><svg>&b;</svg>",
        "HTML": b"<!doctype html><title>404</title>",
        "GIF and JavaScript": b"GIF89a=1;alert(1);//" + bytes(100),
        "ZIP": zipped(),
        "one byte": b"\xff",
        "two bytes of JPEG": JPEG_START,
        "NUL bytes": bytes(5000),
        "random bytes": random.Random(5).randbytes(5000),
        "JPEG after a space": b" " + saved(image, "JPEG"),
        "PNG after a byte order mark": b"\xef\xbb\xbf" + saved(image, "PNG"),
        "PNG whose line ends were changed": saved(image, "PNG").replace(b"\r\n", b"\n", 1),
    }
    for name, data in files.items():
        yield HostilePicture(name, data, errors.NotSupportImage)


def png_sizes() -> Iterator[HostilePicture]:
    """Pixel bombs, and pictures at the edge."""
    large, small = errors.ImageTooLarge, errors.ImageTooSmall
    bad = errors.InvalidImageContent
    for side in (65_535, 2**31 - 1):
        body = chunk(b"IDAT", deflated(4 * 2**20))
        yield HostilePicture(f"PNG of {side} x {side}", png(size=(side, side), body=body), large)
    yield HostilePicture("PNG of 4097 x 4096", png(1, 0, (4097, 4096)), large)
    yield HostilePicture("PNG of 4096 x 4096", png(8, 2, (4096, 4096)), None)
    yield HostilePicture("PNG of 4096 x 4096 with alpha", png(16, 6, (4096, 4096)), None)
    clear = chunk(b"tRNS", b"\0\1")
    yield HostilePicture("PNG of 4096 x 4096, 16-bit", png(16, 0, (4096, 4096), clear), None)
    yield HostilePicture("PNG of 4096 x 4096, lines", png(8, 6, (4096, 4096), interlaced=1), bad)
    yield HostilePicture("PNG of 200 x 4096", png(size=(200, 4096)), small)
    yield HostilePicture("PNG of 1 x 1", png(size=(1, 1)), small)
    yield HostilePicture("PNG of 0 x 300", png(size=(0, 300)), bad)
    more = chunk(b"IDAT", deflated(2**30))
    yield HostilePicture("PNG that inflates beyond its rows", png(body=more), None, blank=True)
    less = chunk(b"IDAT", zlib.compress(bytes(1000)))
    yield HostilePicture("PNG with too few rows", png(body=less), bad)


def png_chunks() -> Iterator[HostilePicture]:
    """Bombs in chunks, and chunks that break the rules."""
    bad = errors.InvalidImageContent
    bomb = deflated(512 * 2**20)
    for name, head in {
        "zTXt": b"a\0\0",
        "iTXt": b"a\0\1\0\0\0",
        "iCCP": b"a\0\0",
    }.items():
        data = png(before=chunk(name.encode(), head + bomb))
        yield HostilePicture(f"PNG with 512 MiB in {name}", data, None)
    million = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**20 - 1), 9))
    yield HostilePicture("PNG with 100 times 1 MiB of text", png(before=million * 100), None)
    text = chunk(b"tEXt", b"a\0b")
    yield HostilePicture("PNG with 9,000 texts", png(before=text * 9000), None)
    yield HostilePicture("PNG with 250,000 texts", png(before=text * 250_000), bad)
    empty = chunk(b"aaAa", b"")
    yield HostilePicture("PNG with 320,000 empty chunks", png(before=empty * 320_000), bad)
    last = png()[-12:]
    parts = chunk(b"IDAT", b"") * 300_000
    pixels = png()[33:-12]
    yield HostilePicture("PNG with 300,000 empty IDAT", png(body=parts + pixels), bad)
    yield HostilePicture(
        "PNG with 300,000 chunks at its end", png()[:-12] + empty * 300_000 + last, bad
    )
    tiff = exif_bomb(20_000, 3_000_000)
    yield HostilePicture("PNG with 60 GB of EXIF in 3 MB", png(before=chunk(b"eXIf", tiff)), None)
    words = b"\nexif\n1\n" + exif_bomb(10_000, 250_000).hex().encode()
    packed = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(words))
    yield HostilePicture("PNG with 2.5 GB of EXIF in a text", png(before=packed), None)
    frame = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, SIDE, SIDE, 0, 0, 0, 1, 0, 0))
    many = chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
    yield HostilePicture("APNG of 2,147,483,647 frames", png(before=many + frame), None)
    images = [drawing().rotate(angle) for angle in range(80)]
    film = saved(drawing(), "PNG", save_all=True, append_images=images)
    yield HostilePicture("APNG of 80 frames", film, None)
    whole = png()
    wrong = bytearray(whole)
    wrong[50] ^= 1
    yield HostilePicture("PNG with a wrong checksum", bytes(wrong), bad)
    yield HostilePicture("PNG with a chunk of 2 GiB", whole[:33] + b"\x7f\xff\xff\xffIDAT", bad)
    yield HostilePicture("PNG with a chunk of 4 GiB", whole[:33] + b"\xff\xff\xff\xffIDAT", bad)
    yield HostilePicture("PNG without IHDR", PNG_START + whole[33:], bad)
    yield HostilePicture("PNG without IDAT", png(body=b""), bad)
    yield HostilePicture("PNG without IEND", whole[:-12], bad)
    yield HostilePicture("PNG with two IHDR", whole[:33] + whole[8:], None)
    yield HostilePicture("PNG with its pixels first", PNG_START + pixels + whole[8:33] + last, bad)
    yield HostilePicture("PNG of a depth that there is not", png(3, 2), bad)
    yield HostilePicture(
        "PNG with a chunk without a name", png(before=chunk(b"\0\0\0\0", b"")), bad
    )
    yield HostilePicture("PNG of its signature alone", PNG_START, bad)
    yield HostilePicture("PNG in a PNG", png(before=chunk(b"prVt", whole)), None)
    yield HostilePicture("PNG and ZIP", whole + zipped(), None)
    yield HostilePicture("PNG signature, then JPEG", PNG_START + saved(drawing(), "JPEG"), bad)


def png_modes() -> Iterator[HostilePicture]:
    """All kinds of samples that a PNG may hold."""
    bad = errors.InvalidImageContent
    palette = chunk(b"PLTE", bytes([9, 9, 9]))
    for depth, colour in [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (16, 2), (8, 4), (16, 4)]:
        yield HostilePicture(f"PNG of depth {depth}, type {colour}", png(depth, colour), None)
    for depth in (1, 2, 4, 8):
        yield HostilePicture(f"PNG, palette of depth {depth}", png(depth, 3, before=palette), None)
    beyond = chunk(b"IDAT", zlib.compress((b"\0" + b"\xff" * SIDE) * SIDE))
    data = png(8, 3, before=palette, body=beyond)
    yield HostilePicture("PNG, index beyond its palette", data, None, blank=True)
    yield HostilePicture("PNG without the palette", png(8, 3), bad)
    clear = chunk(b"tRNS", bytes(300))
    yield HostilePicture("PNG, longer transparency", png(8, 3, before=palette + clear), bad)
    short = chunk(b"tRNS", b"\0")
    yield HostilePicture("PNG, half a transparent colour", png(8, 2, before=short), bad)


def jpeg_bombs() -> Iterator[HostilePicture]:
    """JPEG files that cost time or memory."""
    bad, large = errors.InvalidImageContent, errors.ImageTooLarge
    plain = saved(drawing(), "JPEG")
    yield HostilePicture("JPEG of 65,535 x 65,535", with_size(plain, 65_535, 65_535), large)
    yield HostilePicture("JPEG of 4097 x 300", with_size(plain, 4097, 300), large)
    yield HostilePicture("JPEG of 4096 x 4096 in a few bytes", with_size(plain, 4096, 4096), None)
    yield HostilePicture("JPEG of 0 lines", with_size(plain, 300, 0), bad)
    for mode in ("L", "RGB", "CMYK"):
        image = drawing(mode, 4096)
        for progressive in (False, True):
            data = saved(image, "JPEG", quality=70, subsampling=0, progressive=progressive)
            kind = "progressive" if progressive else "baseline"
            yield HostilePicture(f"JPEG of 4096 x 4096, {mode}, {kind}", data, None)
    yield HostilePicture("JPEG of 5 scans", scan_bomb(300, 4), None, blank=True)
    yield HostilePicture("JPEG of 4096 x 4096 and 90 scans", scan_bomb(4096, 89), None, blank=True)
    slow = scan_bomb(4096, 99, short=False)
    yield HostilePicture("JPEG of 4096 x 4096 and 100 long scans", slow, None, blank=True)
    yield HostilePicture("JPEG of 4096 x 4096 and 1,000 scans", scan_bomb(4096, 999), bad)
    yield HostilePicture("JPEG of 4096 x 4096 and 80,000 scans", scan_bomb(4096, 80_000), bad)
    room = LIMIT_BYTES - len(plain) - 10
    for junk, fault in {b"\xff": None, b"\0": None, b"\xff\0": bad}.items():
        filled = plain[:20] + junk * (room // len(junk)) + plain[20:]
        yield HostilePicture(f"JPEG with 3.9 MB of {junk.hex()}", filled, fault)
    comments = with_segments(plain, segment(0xFE, b"") * (room // 4))
    yield HostilePicture("JPEG with 970,000 comments", comments, bad)
    large_exif = in_exif_segments(exif_bomb(60_000, 3_000_000))
    yield HostilePicture(
        "JPEG with 180 GB of EXIF in 3.7 MB", with_segments(plain, *large_exif), None
    )
    one = segment(0xE1, b"Exif\0\0" + exif_bomb(2700, 32_000))
    yield HostilePicture("JPEG with 86 MB of EXIF in 64 kB", with_segments(plain, one), None)
    profile = [
        segment(0xE2, b"ICC_PROFILE\0" + bytes([number, 50]) + bytes(65_000))
        for number in range(1, 51)
    ]
    yield HostilePicture("JPEG with 3 MB of ICC profile", with_segments(plain, *profile), None)
    photoshop = segment(0xED, b"Photoshop 3.0\0" + (b"8BIM" + bytes(8)) * 5000)
    yield HostilePicture("JPEG with 5,000 resources", with_segments(plain, photoshop), None)


def jpeg_faults() -> Iterator[HostilePicture]:
    """JPEG files that break the rules, or use the rarer ones."""
    bad = errors.InvalidImageContent
    image = drawing()
    plain = saved(image, "JPEG")
    for share in (1, 10, 30, 50, 70, 90, 99):
        cut = plain[: max(4, len(plain) * share // 100)]
        yield HostilePicture(f"JPEG, first {share} %", cut, bad)
    scans = saved(image, "JPEG", progressive=True)
    yield HostilePicture("JPEG, progressive, first half", scans[: len(scans) // 2], bad)
    yield HostilePicture("JPEG without its end", plain[:-2], bad)
    yield HostilePicture("JPEG of its signature alone", b"\xff\xd8\xff", bad)
    yield HostilePicture("JPEG header, then PNG", plain[:20] + saved(image, "PNG"), bad)
    yield HostilePicture("JPEG signature, then PNG", b"\xff\xd8\xff" + saved(image, "PNG"), bad)
    yield HostilePicture("JPEG and HTML", with_segments(plain, segment(0xFE, b"<script>")), None)
    yield HostilePicture("JPEG and ZIP", plain + zipped(), None)
    restarts = saved(image, "JPEG", restart_marker_blocks=1)
    yield HostilePicture("JPEG with restart markers", restarts, None)
    place = restarts.index(b"\xff\xd3")
    swapped = restarts[:place] + b"\xff\xd6" + restarts[place + 2 :]
    yield HostilePicture("JPEG with restart markers out of order", swapped, None)
    two = (
        plain[:2]
        + segment(0xC0, struct.pack(">BHHB9B", 8, 300, 300, 3, *[1, 17, 0] * 3))
        + plain[2:]
    )
    yield HostilePicture("JPEG with two frames in its header", two, bad)
    tables = plain.replace(b"\xff\xc4", b"\xff\xec")
    yield HostilePicture("JPEG without its Huffman tables", tables, None)
    yield HostilePicture("JPEG, lossless", plain.replace(b"\xff\xc0", b"\xff\xc3", 1), bad)
    yield HostilePicture(
        "JPEG of 12 bits", plain.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"), bad
    )
    for orientation in range(10):
        data = saved(image, "JPEG", exif=exif(orientation))
        yield HostilePicture(f"JPEG, orientation {orientation}", data, None)
    for name, lie in {
        "longer than it is": b"MM\0*\0\0\0\x08\xff\xff",
        "its own directory": b"MM\0*\0\0\0\x08\0\1\x87\x69\0\4\0\0\0\1\0\0\0\x08\0\0\0\x08",
        "4 GB of it": b"II*\0\x08\0\0\0\1\0\x12\1\7\0\xff\xff\xff\xff\0\0\0\0",
        "another format": b"%PDF",
    }.items():
        yield HostilePicture(
            f"JPEG, EXIF says {name}", with_segments(plain, segment(0xE1, b"Exif\0\0" + lie)), None
        )
    thumbnail = segment(0xE1, b"Exif\0\0" + with_segments(plain, segment(0xE1, plain))[:60_000])
    yield HostilePicture("JPEG in a JPEG in a JPEG", with_segments(plain, thumbnail), None)
    mpo = saved(image, "MPO", save_all=True, append_images=[drawing("RGB", 5000)])
    yield HostilePicture("MPO, its second picture too large", mpo, None)
    cmyk = saved(drawing("CMYK"), "JPEG")
    yield HostilePicture("JPEG in CMYK", cmyk, None)
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\2")
    bare = cmyk.replace(cmyk[cmyk.index(b"\xff\xee") :][:16], b"", 1)
    yield HostilePicture("JPEG in YCCK", with_segments(bare, adobe), None)
    yield HostilePicture("JPEG in CMYK that names no transform", bare, None)
    yield HostilePicture("JPEG in grey", saved(drawing("L"), "JPEG"), None)


def files_of_a_size() -> Iterator[HostilePicture]:
    """The limits of bytes."""
    plain = saved(drawing(), "JPEG")
    over = errors.ImageSizeExceedLimit
    padding = bytes(LIMIT_BYTES - len(plain))
    yield HostilePicture("zero bytes", b"", errors.InvalidImageContent)
    yield HostilePicture("JPEG of the limit of bytes", plain + padding, over)
    yield HostilePicture("JPEG of a byte less", plain + padding[1:], None)


def hostile_pictures() -> Sequence[HostilePicture]:
    """All of them; no two have the same name."""
    kinds = (
        files_of_a_size,
        of_other_formats,
        png_sizes,
        png_chunks,
        png_modes,
        jpeg_bombs,
        jpeg_faults,
    )
    made = [picture for kind in kinds for picture in kind()]
    assert len({picture.name for picture in made}) == len(made)
    return made
