"""`snapsku users`: who may call, and with which keys. Prints JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from catalog.rows.accounts import Accounts, NewKeys
from catalog.store import Catalog
from cli.faults import told_in_one_line
from cli.servers import opened_catalog
from identity.custody import Custody
from identity.keys import DEFAULT_USER, KeyPair, hash_of, is_user_name, make_keys
from identity.vault import Vault


@dataclass(frozen=True)
class _Office:
    """The accounts and the key material that a command of the group works with."""

    catalog: Catalog
    vault: Vault
    custody: Custody

    @property
    def accounts(self) -> Accounts:
        """The accounts of the catalogue."""
        return self.catalog.accounts

    def require_free(self, name: str) -> None:
        """Raise click.ClickException if data under `name` has a user already."""
        holder = self.accounts.holder(name)
        if holder is not None:
            raise click.ClickException(f"the data of {name} is that of the user {holder}")

    def make_keys(self) -> tuple[KeyPair, NewKeys]:
        """Return new keys: as their user sees them, and sealed for the database."""
        self.custody.claim()
        made = make_keys()
        sealed = self.vault.seal(made.access_key, made.secret_key)
        return made, NewKeys(made.access_key, sealed, hash_of(made.api_key))


@contextmanager
def _office() -> Iterator[_Office]:
    """Open the catalogue, with servers started if none run; a fault is told in one line."""
    with told_in_one_line(), opened_catalog() as (settings, catalog):
        vault = Vault(settings.secret_key.get_secret_value(), settings.data_dir)
        custody = Custody(catalog.accounts, catalog.seal, vault)
        yield _Office(catalog, vault, custody)


def _user_name(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not is_user_name(value):
        raise click.BadParameter("1 to 64 letters, digits, dots, hyphens or underscores")
    return value


NAME = click.argument("name", callback=_user_name)


@click.group("users")
def users_command() -> None:
    """Manage who may call. Once there is a user, every call needs a user's keys."""


@users_command.command()
@NAME
@click.option("--per-second", type=click.IntRange(0), help="Calls a second; 0: no limit.")
@click.option("--per-day", type=click.IntRange(0), help="Calls a day; 0: no limit.")
@click.option("--adopt-default", is_flag=True, help="Give it the data that was made without a key.")
def add(name: str, per_second: int | None, per_day: int | None, adopt_default: bool) -> None:
    """Make the user NAME and print its keys, which are never shown again."""
    with _office() as office:
        if office.accounts.find(name) is not None:
            raise click.ClickException(f"there is a user {name} already; `rotate` gives new keys")
        data_of = DEFAULT_USER if adopt_default else name
        office.require_free(data_of)
        is_first = not office.accounts.has_keys()
        made, kept = office.make_keys()
        if not office.accounts.add(name, kept, per_second, per_day, data_of):
            raise click.ClickException(f"there is a user {name} already; `rotate` gives new keys")
        _print_keys(name, made)
        if is_first:
            click.echo("every call needs a key from now on, on this machine, too", err=True)
        _tell_of_default(office)


def _tell_of_default(office: _Office) -> None:
    """Say on stderr what was made without a key, as long as no key reaches it."""
    found = office.catalog.collections.of_user(DEFAULT_USER)
    if found and office.accounts.holder(DEFAULT_USER) is None:
        images = sum(one.image_count for one in found)
        click.echo(
            f"{len(found)} collections with {images} images were made without a key, and no key "
            "reaches them: `snapsku users add NAME --adopt-default` gives them to a new user",
            err=True,
        )


@users_command.command("list")
def list_users() -> None:
    """Print all users as a JSON list, without any secret."""
    with _office() as office:
        shown = [
            {
                "user": account.user,
                "access_key": account.access_key,
                "disabled": account.is_disabled,
                "per_second": account.per_second,
                "per_day": account.per_day,
                "made_at": account.made_at.isoformat(timespec="milliseconds"),
                "data_of": account.data_of,
            }
            for account in office.accounts.all()
        ]
    _print(shown)


@users_command.command()
@NAME
def disable(name: str) -> None:
    """Refuse every call of the user NAME from now on; what it has stays."""
    _set_disabled(name, is_disabled=True)


@users_command.command()
@NAME
def enable(name: str) -> None:
    """Let a disabled user call again, with the keys that it has."""
    _set_disabled(name, is_disabled=False)


@users_command.command()
@NAME
def rotate(name: str) -> None:
    """Make new keys for the user NAME and print them; the old ones stop at once."""
    with _office() as office:
        made, kept = office.make_keys()
        if not office.accounts.rotate(name, kept):
            raise click.ClickException(f"there is no user {name}")
        _print_keys(name, made)


@users_command.command("adopt-key")
def adopt_key() -> None:
    """Make this host's secret key that of the service, after the former one was lost.

    Prints the users whose secrets were encrypted with the lost key; they need new keys: `rotate`.
    """
    with _office() as office:
        unreadable = office.custody.adopt()
    _print({"to_rotate": unreadable})


def _set_disabled(name: str, *, is_disabled: bool) -> None:
    with _office() as office:
        if not office.accounts.set_disabled(name, is_disabled):
            raise click.ClickException(f"there is no user {name}")
    _print({"user": name, "disabled": is_disabled})


def _print_keys(user: str, made: KeyPair) -> None:
    _print(
        {
            "user": user,
            "access_key": made.access_key,
            "secret_key": made.secret_key,
            "api_key": made.api_key,
        }
    )


def _print(told: Any) -> None:
    click.echo(json.dumps(told, ensure_ascii=False))
