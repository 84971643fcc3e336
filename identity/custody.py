"""One secret key for a catalogue: a host that has another one finds out before it does harm.

Without SNAPSKU_SECRET_KEY each host makes a key file of its own, and the API of one could not
check signatures of users that another made.
"""

from __future__ import annotations

from catalog.coordination.seal import Seal
from catalog.rows.accounts import AccessKey, Accounts
from identity.vault import Vault, VaultError

#: What is sealed: bound to a name that no access key has.
_NAME = "catalogue"
_TEXT = "snapsku"


class WrongSecretKeyError(VaultError):
    """The secrets of the catalogue's users were encrypted with another key than this host's."""

    def __init__(self) -> None:
        super().__init__(
            "the secrets of its users were encrypted with another key than this host has; set "
            "SNAPSKU_SECRET_KEY to that of the first host, or copy its secret.key into "
            "SNAPSKU_DATA_DIR; if it is lost: `snapsku users adopt-key`, then rotate every user"
        )


class Custody:
    """The key of this host against the seal of the catalogue."""

    def __init__(self, accounts: Accounts, seal: Seal, vault: Vault) -> None:
        self._accounts = accounts
        self._seal = seal
        self._vault = vault

    def check(self) -> None:
        """Raise WrongSecretKeyError if the seal is another key's.

        In a catalogue from before there were seals, a host that can read a user's secret
        writes it; one that can't passes.
        """
        if self._seal.find() is None and self._opens_a_secret():
            self._seal.put(self._made())
        self.require()

    def require(self) -> None:
        """Raise WrongSecretKeyError if there is a seal, and it is another key's."""
        sealed = self._seal.find()
        if sealed is None:
            return
        try:
            self._vault.open(_NAME, sealed)
        except VaultError as error:
            raise WrongSecretKeyError from error

    def claim(self) -> None:
        """Make sure that this host may encrypt a secret; the first to do so writes the seal.

        Raises WrongSecretKeyError, or VaultError if a key file can't be made.
        """
        if self._seal.find() is None:
            if self._accounts.is_anybody() and not self._opens_a_secret():
                raise WrongSecretKeyError
            self._seal.put(self._made())
        self.require()

    def adopt(self) -> list[str]:
        """Let the key of this host be the catalogue's, since the one before is lost.

        Return the users whose secrets it can't read.
        """
        self._seal.replace(self._made())
        return sorted(key.user for key in self._accounts.all_keys() if not self._opens(key))

    def _made(self) -> bytes:
        return self._vault.seal(_NAME, _TEXT)

    def _opens_a_secret(self) -> bool:
        return any(map(self._opens, self._accounts.all_keys()))

    def _opens(self, key: AccessKey) -> bool:
        try:
            self._vault.open(key.access_key, key.secret)
        except VaultError:
            return False
        return True
