"""The version of this program, from the metadata of the installed package.

Only pyproject.toml states it; a changed number takes effect after `make setup`. The image tag in
docker-compose.yml can't be taken from there: a test compares the two.
"""

from __future__ import annotations

from importlib.metadata import version

#: Such as "0.1.0".
VERSION = version("snapsku")
