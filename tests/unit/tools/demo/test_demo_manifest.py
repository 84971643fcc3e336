from __future__ import annotations

import json
from collections import Counter

from PIL import Image

from tools.demo.manifest import SAMPLES, load

MANIFEST = load()
RAW = json.loads((SAMPLES / "manifest.json").read_text("utf-8"))
LARGEST_BYTES = int(3.75 * 1024 * 1024)


def test_every_picture_decodes_as_jpeg_or_png_within_the_contracts_limits() -> None:
    for image in MANIFEST.images:
        assert image.path.stat().st_size < min(LARGEST_BYTES, 80_001)
        with Image.open(image.path, formats=("JPEG", "PNG")) as picture:
            picture.load()
            assert min(picture.size) >= 201
            assert max(picture.size) <= 4096


def test_both_formats_are_there() -> None:
    assert {image.path.suffix for image in MANIFEST.images} == {".jpg", ".png"}


def test_image_ids_and_files_are_unique_and_within_the_contracts_limits() -> None:
    for values in (
        [image.image_id for image in MANIFEST.images],
        [image.path for image in MANIFEST.images],
        [cutout["product_id"] for cutout in RAW["cutouts"]],
    ):
        assert max(Counter(values).values()) == 1
    for image in MANIFEST.images:
        assert 1 <= len(image.product_id) <= 128
        assert 1 <= len(image.image_id) <= 128
        assert 1 <= len(image.product_name) <= 256
        assert len(image.image_info) <= 256


def test_there_are_at_least_forty_products_in_all_three_categories() -> None:
    products = MANIFEST.products()
    assert len(products) >= 40
    assert len({row["product_id"] for row in products}) == len(products)
    categories = Counter(row["category"] for row in products)
    assert set(categories) == {"服装", "鞋靴", "其他"}
    assert min(categories.values()) >= 10


def test_a_product_has_one_name_and_one_category_and_one_object() -> None:
    for fields in (("product_name", "category"), ("source",)):
        seen = {(row["product_id"], *(row[field] for field in fields)) for row in RAW["images"]}
        assert len(seen) == len(MANIFEST.products())


def test_some_products_have_two_pictures() -> None:
    counts = Counter(image.product_id for image in MANIFEST.images)
    assert sum(count == 2 for count in counts.values()) >= 5


def test_every_cut_out_belongs_to_a_product_and_has_alpha() -> None:
    known = {row["product_id"] for row in MANIFEST.products()}
    assert len(MANIFEST.cutouts) >= 20
    assert set(MANIFEST.cutouts) <= known
    for path in MANIFEST.cutouts.values():
        with Image.open(path) as cutout:
            assert cutout.mode == "RGBA"
            assert cutout.getchannel("A").getextrema() == (0, 255)


def test_no_file_lies_beside_the_manifest_unnamed() -> None:
    named = {image.path for image in MANIFEST.images} | set(MANIFEST.cutouts.values())
    there = {path for folder in ("products", "cutouts") for path in (SAMPLES / folder).iterdir()}
    assert there == named


def test_the_licence_and_the_origin_are_named() -> None:
    licence = (SAMPLES / RAW["license_file"]).read_text("utf-8")
    assert "MIT License" in licence
    assert "Copyright (c) Microsoft Corporation." in licence
    assert "LobeHub" in licence
    assert (RAW["package"], RAW["version"]) == ("@lobehub/fluent-emoji-3d", "1.1.0")


def test_the_readme_names_every_object_and_forbids_training_on_them() -> None:
    readme = (SAMPLES / "README.md").read_text("utf-8")
    assert "No detector and no embedder may ever be trained on these objects" in readme
    for row in RAW["images"]:
        code = row["source"].removeprefix("assets/").removesuffix(".webp")
        assert f"| {row['product_id']} | {row['product_name']} | " in readme
        assert f"| {code} |" in readme


def test_all_samples_together_stay_small() -> None:
    files = [path for path in SAMPLES.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 4_000_000
