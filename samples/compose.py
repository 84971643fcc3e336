"""Composes the sample pictures from the unpacked npm package `@lobehub/fluent-emoji-3d`.

    python samples/compose.py PATH_OF_THE_UNPACKED_PACKAGE

Writes products/, cutouts/ and manifest.json beside this file; the same versions of the package
and of Pillow give the same bytes. It is not part of the service: it is run by hand to change the
samples, and its output is committed.
"""

from __future__ import annotations

import argparse
import io
import json
import random
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageFilter

PACKAGE = "@lobehub/fluent-emoji-3d"
CLOTHES, SHOES, OTHER = "服装", "鞋靴", "其他"
#: The largest size of a committed picture, in bytes.
LARGEST_FILE = 80_000
#: Light backgrounds: the name for image_info, and the colour.
BACKGROUNDS = (
    ("white", (255, 255, 255)),
    ("near white", (247, 247, 247)),
    ("light grey", (233, 233, 235)),
    ("pale blue", (226, 236, 247)),
    ("cream", (250, 244, 228)),
    ("pale pink", (250, 232, 236)),
    ("pale green", (229, 243, 231)),
    ("grey", (214, 216, 220)),
)


class Product(NamedTuple):
    """A sample product, and the code of the emoji that it shows."""

    product_id: str
    name: str
    category: str
    code: str


PRODUCTS = (
    Product("shirt-and-tie", "条纹衬衫配领带", CLOTHES, "1f454"),
    Product("t-shirt", "绿色T恤", CLOTHES, "1f455"),
    Product("jeans", "蓝色牛仔裤", CLOTHES, "1f456"),
    Product("dress", "蓝色连衣裙", CLOTHES, "1f457"),
    Product("kimono", "印花和服", CLOTHES, "1f458"),
    Product("bikini", "波点比基尼", CLOTHES, "1f459"),
    Product("blouse", "粉色女式上衣", CLOTHES, "1f45a"),
    Product("lab-coat", "白大褂", CLOTHES, "1f97c"),
    Product("safety-vest", "反光背心", CLOTHES, "1f9ba"),
    Product("sari", "Sari, green and gold", CLOTHES, "1f97b"),
    Product("swimsuit", "连体泳衣", CLOTHES, "1fa71"),
    Product("briefs", "男士三角裤", CLOTHES, "1fa72"),
    Product("shorts", "绿色短裤", CLOTHES, "1fa73"),
    Product("scarf", "红色围巾", CLOTHES, "1f9e3"),
    Product("gloves", "紫色手套", CLOTHES, "1f9e4"),
    Product("coat", "驼色大衣", CLOTHES, "1f9e5"),
    Product("socks", "拼色短袜", CLOTHES, "1f9e6"),
    Product("sun-hat", "蝴蝶结草帽", CLOTHES, "1f452"),
    Product("top-hat", "Top hat", CLOTHES, "1f3a9"),
    Product("baseball-cap", "蓝色棒球帽", CLOTHES, "1f9e2"),
    Product("judo-suit", "柔道服", CLOTHES, "1f94b"),
    Product("running-vest", "运动背心", CLOTHES, "1f3bd"),
    Product("ballet-flat", "蓝色平底鞋", SHOES, "1f97f"),
    Product("running-shoe", "跑步鞋", SHOES, "1f45f"),
    Product("leather-shoe", "棕色皮鞋", SHOES, "1f45e"),
    Product("hiking-boot", "登山靴", SHOES, "1f97e"),
    Product("high-heel", "红色高跟鞋", SHOES, "1f460"),
    Product("heeled-sandal", "女式凉鞋", SHOES, "1f461"),
    Product("ankle-boot", "红色女靴", SHOES, "1f462"),
    Product("ballet-shoes", "芭蕾舞鞋", SHOES, "1fa70"),
    Product("ice-skate", "冰刀鞋", SHOES, "26f8-fe0f"),
    Product("roller-skate", "轮滑鞋", SHOES, "1f6fc"),
    Product("flip-flop", "Flip-flop, blue", SHOES, "1fa74"),
    Product("ski-boot", "滑雪靴", SHOES, "1f3bf"),
    Product("handbag", "棕色手提包", OTHER, "1f45c"),
    Product("purse", "红色零钱包", OTHER, "1f45b"),
    Product("pouch", "粉色手拿包", OTHER, "1f45d"),
    Product("backpack", "红色双肩包", OTHER, "1f392"),
    Product("suitcase", "蓝色行李箱", OTHER, "1f9f3"),
    Product("shopping-bags", "购物袋", OTHER, "1f6cd-fe0f"),
    Product("briefcase", "公文包", OTHER, "1f4bc"),
    Product("phone", "智能手机", OTHER, "1f4f1"),
    Product("camera", "照相机", OTHER, "1f4f7"),
    Product("headphones", "头戴式耳机", OTHER, "1f3a7"),
    Product("glasses", "近视眼镜", OTHER, "1f453"),
    Product("sunglasses", "太阳镜", OTHER, "1f576-fe0f"),
    Product("goggles", "护目镜", OTHER, "1f97d"),
    Product("wrist-watch", "手表", OTHER, "231a"),
    Product("alarm-clock", "闹钟", OTHER, "23f0"),
    Product("laptop", "笔记本电脑", OTHER, "1f4bb"),
    Product("printer", "打印机", OTHER, "1f5a8-fe0f"),
    Product("mouse", "无线鼠标", OTHER, "1f5b1-fe0f"),
    Product("keyboard", "键盘", OTHER, "2328-fe0f"),
    Product("television", "Television set", OTHER, "1f4fa"),
    Product("radio", "收音机", OTHER, "1f4fb"),
    Product("umbrella", "紫色雨伞", OTHER, "2602-fe0f"),
    Product("ring", "钻石戒指", OTHER, "1f48d"),
    Product("lipstick", "口红", OTHER, "1f484"),
    Product("guitar", "电吉他", OTHER, "1f3b8"),
    Product("teddy-bear", "泰迪熊", OTHER, "1f9f8"),
    Product("teapot", "红色茶壶", OTHER, "1fad6"),
    Product("telephone", "老式电话机", OTHER, "260e-fe0f"),
)

#: Products with a second picture: mirrored, slightly turned, on another background.
PHOTOGRAPHED_TWICE = frozenset(
    [
        "t-shirt",
        "dress",
        "coat",
        "running-shoe",
        "high-heel",
        "roller-skate",
        "handbag",
        "camera",
        "wrist-watch",
        "teapot",
    ]
)

#: Products whose cut-out is kept, for queries on another background.
CUT_OUT = frozenset(
    [
        "t-shirt",
        "jeans",
        "kimono",
        "safety-vest",
        "scarf",
        "coat",
        "socks",
        "sun-hat",
        "running-shoe",
        "leather-shoe",
        "hiking-boot",
        "high-heel",
        "ankle-boot",
        "ballet-shoes",
        "ice-skate",
        "flip-flop",
        "handbag",
        "backpack",
        "camera",
        "headphones",
        "wrist-watch",
        "laptop",
        "guitar",
        "teapot",
    ]
)


def trimmed(cutout: Image.Image) -> Image.Image:
    """Return the cut-out without its transparent border; raise ValueError if it is empty."""
    box = cutout.getchannel("A").getbbox()
    if box is None:
        raise ValueError("the cut-out is empty")
    return cutout.crop(box)


def canvas_size(rng: random.Random, longest: int) -> tuple[int, int]:
    """Return a random width and height in pixels, from 300 to `longest`."""
    width = rng.randrange(300, longest + 1, 20)
    height = round(width * rng.choice((1.0, 1.0, 4 / 3, 3 / 4, 5 / 4, 4 / 5)))
    return width, min(max(height, 300), longest)


def placed(
    cutout: Image.Image, size: tuple[int, int], rng: random.Random
) -> tuple[Image.Image, tuple[int, int]]:
    """Scale the cut-out for a canvas of `size`; return it and where its top left corner goes."""
    longest = rng.uniform(0.5, 0.88) * min(size)
    scale = longest / max(cutout.size)
    scaled = cutout.resize(
        (max(1, round(cutout.width * scale)), max(1, round(cutout.height * scale))),
        Image.Resampling.LANCZOS,
    )
    margin = round(0.04 * min(size))
    left = rng.randint(margin, size[0] - scaled.width - margin)
    top = rng.randint(margin, size[1] - scaled.height - margin)
    return scaled, (left, top)


def shadow(scaled: Image.Image, place: tuple[int, int], size: tuple[int, int]) -> Image.Image:
    """Return the soft shadow of a placed cut-out, as a mask of the canvas."""
    mask = Image.new("L", size)
    distance = max(4, round(0.02 * min(size)))
    alpha = scaled.getchannel("A").point(lambda value: value // 4)
    mask.paste(alpha, (place[0] + distance, place[1] + distance))
    return mask.filter(ImageFilter.GaussianBlur(distance))


def compose(cutout: Image.Image, rng: random.Random, longest: int) -> tuple[Image.Image, str]:
    """Return a product shot (RGB) and its image_info."""
    size = canvas_size(rng, longest)
    name, colour = rng.choice(BACKGROUNDS)
    shot = Image.new("RGB", size, colour)
    scaled, place = placed(cutout, size, rng)
    words = f"{name} background"
    if rng.random() < 0.3:
        shot.paste((60, 60, 70), (0, 0), shadow(scaled, place, size))
        words += ", soft shadow"
    shot.paste(scaled, place, scaled)
    return shot, words


def compose_transparent(
    cutout: Image.Image, rng: random.Random, longest: int
) -> tuple[Image.Image, str]:
    """Return a product shot without a background (RGBA) and its image_info."""
    size = canvas_size(rng, longest)
    shot = Image.new("RGBA", size, (255, 255, 255, 0))
    scaled, place = placed(cutout, size, rng)
    shot.paste(scaled, place)
    return shot, "transparent background"


def encoded(shot: Image.Image, suffix: str) -> bytes:
    """Return the picture as a PNG or JPEG file; raise ValueError if it is over LARGEST_FILE."""
    buffer = io.BytesIO()
    if suffix == "png":
        shot.save(buffer, "PNG", optimize=True)
    else:
        shot.save(buffer, "JPEG", quality=90, optimize=True)
    if buffer.tell() > LARGEST_FILE:
        raise ValueError(f"{buffer.tell()} bytes are too many for a sample picture")
    return buffer.getvalue()


def product_shot(cutout: Image.Image, product: Product, index: int, second: bool) -> dict[str, str]:
    """Write a picture of a product, and return its row of the manifest."""
    image_id = f"{product.product_id}-{2 if second else 1}"
    rng = random.Random(image_id)
    if second:
        mirrored = cutout.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        angle = rng.choice((-1, 1)) * rng.uniform(5, 12)
        cutout = trimmed(mirrored.rotate(angle, Image.Resampling.BICUBIC, expand=True))
    suffix = "png" if index % 3 == 0 else "jpg"
    # PNG keeps noise, which JPEG drops, so its canvases are small.
    longest = 400 if suffix == "png" else 900
    drawer = compose_transparent if index % 15 == 0 else compose
    shot, words = drawer(cutout, rng, longest)
    file = f"products/{image_id}.{suffix}"
    (Path(__file__).parent / file).write_bytes(encoded(shot, suffix))
    return {
        "product_id": product.product_id,
        "product_name": product.name,
        "category": product.category,
        "image_id": image_id,
        "image_info": ("mirrored and turned, " if second else "") + words,
        "file": file,
        "source": f"assets/{product.code}.webp",
    }


def main() -> None:
    """Write all pictures, all cut-outs and the manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path, help="folder with package.json and assets/")
    package: Path = parser.parse_args().package
    described = json.loads((package / "package.json").read_text("utf-8"))
    if described["name"] != PACKAGE:
        raise SystemExit(f"{package} is not {PACKAGE}")
    here = Path(__file__).parent
    for folder in ("products", "cutouts"):
        (here / folder).mkdir(exist_ok=True)
        for old in (here / folder).iterdir():
            old.unlink()
    images: list[dict[str, str]] = []
    cutouts: list[dict[str, str]] = []
    for product in PRODUCTS:
        source = package / "assets" / f"{product.code}.webp"
        with Image.open(source) as opened:
            cutout = trimmed(opened.convert("RGBA"))
        images.append(product_shot(cutout, product, len(images), second=False))
        if product.product_id in PHOTOGRAPHED_TWICE:
            images.append(product_shot(cutout, product, len(images), second=True))
        if product.product_id in CUT_OUT:
            file = f"cutouts/{product.product_id}.webp"
            (here / file).write_bytes(source.read_bytes())
            cutouts.append(
                {
                    "product_id": product.product_id,
                    "file": file,
                    "source": f"assets/{product.code}.webp",
                }
            )
    manifest = {
        "package": PACKAGE,
        "version": described["version"],
        "license": described["license"],
        "license_file": "LICENSE-fluent-emoji-3d",
        "images": images,
        "cutouts": cutouts,
    }
    text = json.dumps(manifest, ensure_ascii=False, indent=1)
    (here / "manifest.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
