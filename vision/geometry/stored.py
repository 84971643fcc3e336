"""Local features as bytes, for a table of the catalogue.

A row of one version: the version, the count of features and a CRC-32 of the rest; the places, four
16-bit numbers a feature; the codes, two in a byte. What is read back is checked, since a table
outlives releases and a disk may damage it.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from vision.geometry.local_features import DESCRIPTOR, MOST_FEATURES, SIDE, LocalFeatures

#: Changes whenever features of two releases can't be compared.
VERSION = 1

_HEAD = struct.Struct("<BxHI")
#: Parts of a pixel that are kept of a place, and parts of a turn of a direction.
_PIXEL, _TURN = 64, 1 << 16
_PLACE = np.dtype("<u2")
_PLACE_BYTES, _CODE_BYTES = 4 * _PLACE.itemsize, DESCRIPTOR // 2


class UnusableFeaturesError(ValueError):
    """Bytes are no local features that this release can read; the text is one line."""


def pack(features: LocalFeatures) -> bytes:
    """Return local features as bytes: 8, and 72 for each feature."""
    places = np.concatenate(
        [
            features.points * _PIXEL,
            features.sizes[:, None] * _PIXEL,
            features.angles[:, None] / (2 * np.pi) * _TURN % _TURN,
        ],
        axis=1,
    )
    rest: bytes = np.clip(np.rint(places), 0, _TURN - 1).astype(_PLACE).tobytes()
    rest += (features.codes[:, ::2] << 4 | features.codes[:, 1::2]).tobytes()
    return _HEAD.pack(VERSION, len(features), zlib.crc32(rest)) + rest


def unpack(data: bytes) -> LocalFeatures:
    """Return the local features of bytes that `pack` made. Raises UnusableFeaturesError."""
    if len(data) < _HEAD.size:
        raise UnusableFeaturesError(f"{len(data)} bytes are too few")
    version, count, checksum = _HEAD.unpack_from(data)
    if version != VERSION:
        raise UnusableFeaturesError(f"version {version}, not {VERSION}")
    rest = memoryview(data)[_HEAD.size :]
    if count > MOST_FEATURES or len(rest) != count * (_PLACE_BYTES + _CODE_BYTES):
        raise UnusableFeaturesError(f"{len(data)} bytes do not fit {count} features")
    if zlib.crc32(rest) != checksum:
        raise UnusableFeaturesError("the checksum is not that of the content")
    places = np.frombuffer(rest, _PLACE, 4 * count).reshape(count, 4).astype(np.float32)
    if count and places[:, :2].max() > SIDE * _PIXEL:
        raise UnusableFeaturesError("a point lies outside of the picture")
    if count and not places[:, 2].all():
        raise UnusableFeaturesError("a feature has no size")
    pairs = np.frombuffer(rest, np.uint8, offset=count * _PLACE_BYTES)
    places[:, :3] /= _PIXEL
    places[:, 3] *= 2 * np.pi / _TURN
    return LocalFeatures(
        points=places[:, :2],
        sizes=places[:, 2],
        angles=places[:, 3],
        codes=np.stack([pairs >> 4, pairs & 15], axis=-1).reshape(count, DESCRIPTOR),
    )
