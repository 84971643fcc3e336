"""The version of this program; pyproject.toml alone says it.

Read from the metadata of the installed package, so a changed number counts after the next
`make setup`. The tag of the image in docker-compose.yml can't be read from there: a test holds
it equal.
"""

from __future__ import annotations

from importlib.metadata import version

#: Such as "0.1.0".
VERSION = version("snapsku")
