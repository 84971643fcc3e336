"""Secrets that are read from files: SNAPSKU_X_FILE names the file that holds the setting SNAPSKU_X.

A value in the environment of a container is shown by `docker inspect`; a file is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

#: Appended to the variable of a secret.
SUFFIX = "_FILE"


def secrets_of(model: type[BaseModel]) -> list[str]:
    """Return the names of the fields of `model` that are secret."""
    return [name for name, field in model.model_fields.items() if field.annotation is SecretStr]


def file_variables(model: type[BaseModel], prefix: str) -> dict[str, str]:
    """Return the variable that may name a file for each secret field of `model`, by the field."""
    return {name: f"{prefix}{name.upper()}{SUFFIX}" for name in secrets_of(model)}


def with_files_read(values: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    """Return `values` with the content of the named files in place of their names.

    `values` has fields by name, and the name of a field's file under `<field>_file`; `variables`
    are those of `file_variables`. An empty value counts as not set. Raises ValueError, with one
    line, if a secret is set twice, or a file can't be read or does not hold exactly one line.
    """
    found = dict(values)
    for field, variable in variables.items():
        named = found.pop(_key(field), "")
        if not named:
            continue
        if found.get(field):
            plain = variable.removesuffix(SUFFIX)
            raise ValueError(f"{plain} and {variable} are both set: keep one")
        found[field] = _read(Path(named), variable)
    return found


def chosen_files(environment: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """Return the names of files that `environment` sets, as `with_files_read` takes them."""
    return {
        _key(field): environment[variable]
        for field, variable in variables.items()
        if variable in environment
    }


def _key(field: str) -> str:
    return f"{field}{SUFFIX.lower()}"


def _read(file: Path, variable: str) -> str:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ValueError(
            f"{variable} names {file}, which can't be read ({error.strerror}); "
            "it must be readable by the user of the service"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{variable} names {file}, which is not UTF-8 text") from error
    if len(lines) != 1 or not lines[0].strip():
        raise ValueError(f"{variable} names {file}, which must hold one line: the secret")
    return lines[0].strip()
