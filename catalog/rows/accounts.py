"""The accounts of the users, and their keys.

This module gets secrets encrypted and API keys as hashes. A user has one pair of keys, the one
that the account names, so that a new pair replaces the old one in a single write.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from pymongo.errors import DuplicateKeyError

from catalog.database.connection import Row, Rows, moment, now, stamp


class MalformedAccountError(Exception):
    """A row of an account or of keys has fields missing or of a wrong type."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """A user; a limit of None means that the setting applies."""

    user: str
    access_key: str
    is_disabled: bool
    per_second: int | None
    per_day: int | None
    made_at: datetime
    data_of: str  #: the name under which its data is kept: its own, or an adopted one

    @classmethod
    def from_row(cls, row: Row) -> Account:
        """Return the account of a row; raises MalformedAccountError."""
        user, access_key = row["_id"], row.get("access_key")
        limits = [row.get("per_second"), row.get("per_day")]
        data_of = row.get("data_of", user)
        if (
            not isinstance(user, str)
            or not isinstance(access_key, str)
            or not isinstance(data_of, str)
            or not all(one is None or _is_count(one) for one in limits)
            or not _is_count(row.get("disabled_at"))
            or not _is_count(row.get("made_at"))
        ):
            raise MalformedAccountError(f"the account {user!r} is malformed")
        return cls(
            user=user,
            access_key=access_key,
            is_disabled=row["disabled_at"] > 0,
            per_second=limits[0],
            per_day=limits[1],
            made_at=moment(row["made_at"]),
            data_of=data_of,
        )


@dataclass(frozen=True, kw_only=True)
class AccessKey:
    """A pair of keys as its row says, with its user and the encrypted secret."""

    access_key: str
    user: str
    secret: bytes

    @classmethod
    def from_row(cls, row: Row) -> AccessKey:
        """Return the keys of a row; raises MalformedAccountError."""
        user, secret = row.get("user"), row.get("secret")
        if not isinstance(user, str) or not isinstance(secret, bytes):
            raise MalformedAccountError(f"the keys {row['_id']!r} are malformed")
        return cls(access_key=row["_id"], user=user, secret=secret)


@dataclass(frozen=True)
class NewKeys:
    """What is stored of new keys."""

    access_key: str
    secret: bytes  #: encrypted
    api_key_hash: str  #: SHA-256 in hex


class Accounts:
    """The rows of accounts, by user, and of keys, by access key."""

    def __init__(self, accounts: Rows, keys: Rows) -> None:
        self._accounts = accounts
        self._keys = keys

    def has_keys(self) -> bool:
        """Return whether there is any key."""
        return self._keys.find_one({}, ["_id"]) is not None

    def find(self, user: str) -> Account | None:
        """Return a user's account, or None; raises MalformedAccountError."""
        row = self._accounts.find_one({"_id": user})
        return None if row is None else Account.from_row(row)

    def key(self, access_key: str) -> AccessKey | None:
        """Return the keys with that access key, or None; raises MalformedAccountError."""
        row = self._keys.find_one({"_id": access_key})
        return None if row is None else AccessKey.from_row(row)

    def key_of_api(self, api_key_hash: str) -> AccessKey | None:
        """Return the keys whose API key has that hash, or None; raises MalformedAccountError."""
        row = self._keys.find_one({"api_key_hash": api_key_hash})
        return None if row is None else AccessKey.from_row(row)

    def all_keys(self) -> Iterator[AccessKey]:
        """Yield every pair of keys; malformed ones are left out."""
        for row in self._keys.find({}):
            try:
                key = AccessKey.from_row(row)
            except MalformedAccountError:
                continue
            yield key

    def all(self) -> list[Account]:
        """Return every account by name; raises MalformedAccountError."""
        return sorted(
            (Account.from_row(row) for row in self._accounts.find({})), key=lambda one: one.user
        )

    def holder(self, name: str) -> str | None:
        """Return the user whose data is kept under `name`, None if there is none.

        Raises MalformedAccountError.
        """
        return next((one.user for one in self.all() if one.data_of == name), None)

    def add(
        self,
        user: str,
        keys: NewKeys,
        per_second: int | None,
        per_day: int | None,
        data_of: str | None = None,
    ) -> bool:
        """Create a user with keys; return False, with nothing written, if the name is taken.

        `data_of` is the name under which its data is kept, if that is not its own.
        """
        account = {
            "_id": user,
            "access_key": keys.access_key,
            "disabled_at": 0,
            "per_second": per_second,
            "per_day": per_day,
            "made_at": stamp(now()),
            "data_of": data_of or user,
        }
        try:
            self._accounts.insert_one(account)
        except DuplicateKeyError:
            return False
        self._insert(user, keys)
        return True

    def rotate(self, user: str, keys: NewKeys) -> bool:
        """Replace the keys of a user; the old ones stop being valid at once.

        Return False if there is no such user.
        """
        if self._accounts.find_one({"_id": user}) is None:
            return False
        self._insert(user, keys)
        before = self._accounts.find_one_and_update(
            {"_id": user}, {"$set": {"access_key": keys.access_key}}
        )
        if before is not None:
            self._keys.delete_one({"_id": before.get("access_key"), "user": user})
        return before is not None

    def set_disabled(self, user: str, is_disabled: bool) -> bool:
        """Disable a user, or enable it again; return False if there is no such user."""
        # A number: the embedded server turns a boolean that an update sets into one.
        moment = stamp(now()) if is_disabled else 0
        found = self._accounts.update_one({"_id": user}, {"$set": {"disabled_at": moment}})
        return found.matched_count == 1

    def _insert(self, user: str, keys: NewKeys) -> None:
        self._keys.insert_one(
            {
                "_id": keys.access_key,
                "user": user,
                "secret": keys.secret,
                "api_key_hash": keys.api_key_hash,
                "made_at": stamp(now()),
            }
        )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
