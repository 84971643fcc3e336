"""The `snapsku` command: run the stack, check it, back it up, manage users and models."""

from __future__ import annotations

import os
import sys

import click
from pydantic import SecretStr

from cli.backup import backup_command, restore_command
from cli.evaluation.command import evaluate_command
from cli.models import models_command
from cli.users import users_command
from config.refusal import REFUSED
from config.settings import (
    PREFIX,
    Settings,
    SettingsError,
    read_settings,
    with_embedded_servers,
)
from config.version import VERSION


class Refusal(click.ClickException):
    """A fault that a second try would meet again; its exit code tells supervisors so."""

    exit_code = REFUSED


def _settings() -> Settings:
    try:
        return read_settings()
    except SettingsError as error:
        raise Refusal(f"bad settings: {error}") from error


@click.group()
@click.version_option(VERSION, prog_name="snapsku", message="%(prog)s %(version)s")
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
    """Keep all processes running, with servers where none is named. Ctrl-C stops all."""
    from cli.preflight import PreflightError
    from cli.processes import ONCE, absolute_paths, procfile, run_stack

    concurrency = {}
    for entry in scale:
        kind, _, number = entry.partition("=")
        if not number.isdecimal():
            raise click.BadParameter(f"{entry!r} is not KIND=N", param_hint="--scale")
        if kind not in procfile():
            raise click.BadParameter(f"the Procfile has no {kind!r}", param_hint="--scale")
        if kind in ONCE and int(number) > 1:
            raise click.BadParameter(f"{kind} runs once", param_hint="--scale")
        concurrency[kind] = int(number)
    settings = _settings()
    # The processes run in the project's folder, not in the one where this command was called.
    os.environ.update(absolute_paths(settings))
    try:
        code = run_stack(settings, concurrency)
    except PreflightError as error:
        raise Refusal("\nError: ".join(error.faults)) from error
    except SettingsError as error:
        raise Refusal(str(error)) from error
    sys.exit(code)


@main.command()
@click.argument("name")
def run(name: str) -> None:
    """Become one process of the Procfile, such as vision, or vision2 beside it.

    For systemd and others that restart what ends; `snapsku up` runs all of them. To be called in
    the project's folder.
    """
    from cli.processes import become, program_of_procfile

    try:
        program = program_of_procfile(name)
    except ValueError as error:
        raise Refusal(str(error)) from error
    become(program)


@main.command()
@click.option("--model", is_flag=True, help="Load the weights as well, which takes seconds.")
@click.option(
    "--skip",
    metavar="SUBJECT",
    multiple=True,
    help="Leave out a line, such as flower, that is on another machine. May be given again.",
)
def doctor(model: bool, skip: tuple[str, ...]) -> None:
    """Check what the service needs: a line each, exit code 1 where something is wrong."""
    try:
        chosen = read_settings()
        found = with_embedded_servers(chosen)
    except SettingsError as error:
        click.echo(f"WRONG  settings: {error}")
        sys.exit(1)
    click.echo("OK     settings: valid")
    # Imported here, since no other command needs its libraries.
    from cli.doctor import examine

    is_well = True
    is_embedded = not chosen.mongo_url.get_secret_value()
    for finding in examine(found, with_model=model, is_embedded=is_embedded):
        if finding.subject not in skip:
            click.echo(str(finding))
            is_well = is_well and not finding.is_wrong
    sys.exit(0 if is_well else 1)


main.add_command(backup_command)
main.add_command(restore_command)
main.add_command(users_command)
main.add_command(models_command)
main.add_command(evaluate_command)


@main.group()
def config() -> None:
    """Show the settings."""


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
