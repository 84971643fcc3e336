"""Accounts in memory for tests of the gate, and how its refusals are read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from werkzeug.test import TestResponse

from catalog.rows.accounts import AccessKey, Account
from identity.keys import hash_of
from identity.vault import Vault
from tests.unit.app.standins import envelope

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
SECRET = "the secret"
API_KEY = "snapsku_x"


def refuses(*codes: str) -> pytest.MarkDecorator:
    return pytest.mark.answers("any call", *codes)


class Rows:
    """Accounts in memory, one user with keys."""

    def __init__(self, vault: Vault) -> None:
        self.account: Any = Account(
            user="shop",
            access_key="AK",
            is_disabled=False,
            per_second=None,
            per_day=None,
            made_at=NOW,
            data_of="shop",
        )
        self.keys = {"AK": AccessKey(access_key="AK", user="shop", secret=vault.seal("AK", SECRET))}
        self.asked = 0

    def has_keys(self) -> bool:
        self.asked += 1
        return bool(self.keys)

    def find(self, user: str) -> Any:
        if isinstance(self.account, Exception):
            raise self.account
        return self.account

    def key(self, access_key: str) -> AccessKey | None:
        return self.keys.get(access_key)

    def key_of_api(self, api_key_hash: str) -> AccessKey | None:
        return self.keys.get("AK") if api_key_hash == hash_of(API_KEY) else None


def system_code(response: TestResponse) -> str:
    body = envelope(response)
    assert response.status_code == {"10050": 403, "10000": 200}.get(body["code"], 401)
    assert ("WWW-Authenticate" in response.headers) == (response.status_code == 401)
    code: str = body["code"]
    return code
