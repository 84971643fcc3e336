"""The `snapsku` command: run the stack, show the settings."""

from __future__ import annotations

import os
import sys

import click
from pydantic import SecretStr

from config.embedded import embedded_servers
from config.settings import PREFIX, Settings, SettingsError, read_settings


def _settings() -> Settings:
    try:
        return read_settings()
    except SettingsError as error:
        raise click.ClickException(f"bad settings: {error}") from error


@click.group()
def main() -> None:
    """Self-hosted product-image search: a snapshot in, a SKU out."""


@main.command()
@click.option(
    "--scale",
    metavar="KIND=N",
    multiple=True,
    help="Run N processes of a kind of the Procfile, such as fetch=2. May be given again.",
)
def up(scale: tuple[str, ...]) -> None:
    """Run every process of the Procfile, and servers where none is named. Ctrl-C stops all."""
    from cli.processes import kinds, run_procfile

    concurrency = {}
    for entry in scale:
        kind, _, number = entry.partition("=")
        if not number.isdecimal():
            raise click.BadParameter(f"{entry!r} is not KIND=N", param_hint="--scale")
        if kind not in kinds():
            raise click.BadParameter(f"the Procfile has no {kind!r}", param_hint="--scale")
        concurrency[kind] = int(number)
    settings = _settings()
    # The processes run in the project's folder, wherever this command was called from.
    os.environ[f"{PREFIX}DATA_DIR"] = str(settings.data_dir.resolve())
    try:
        with embedded_servers(settings):
            code = run_procfile(concurrency)
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
    sys.exit(code)


@main.group()
def config() -> None:
    """Look at the settings."""


@config.command()
def show() -> None:
    """Print every setting with its value and meaning; secrets are masked."""
    settings = _settings()
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, tuple):
            value = ",".join(value)
        if isinstance(value, SecretStr):
            value = str(value)
        click.echo(f"{PREFIX}{name.upper()}={value}  # {field.description}")


if __name__ == "__main__":
    main()
