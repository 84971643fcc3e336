"""The check that all hosts of a catalogue encrypt secrets with the same key.

Without SNAPSKU_SECRET_KEY each host makes a key file of its own, and the API of one host could
not check signatures of users that another host made. So each compares its key with the seal of
the catalogue before it uses it.
"""

from __future__ import annotations

from catalog.coordination.seal import Seal
from catalog.rows.accounts import AccessKey, Accounts
from identity.vault import Vault, VaultError

#: The sealed text, and the name it is bound to, which is no valid access key.
_NAME = "catalogue"
_TEXT = "snapsku"


class WrongSecretKeyError(VaultError):
    """The secrets of the catalogue's users were encrypted with a key that this host lacks."""

    def __init__(self) -> None:
        super().__init__(
            "the secrets of its users were encrypted with another key than this host has; set "
            "SNAPSKU_SECRET_KEY to that of the first host, or copy its secret.key into "
            "SNAPSKU_DATA_DIR; if it is lost: `snapsku users adopt-key`, then rotate every user"
        )


class Custody:
    """Compares the key of this host with the seal of the catalogue."""

    def __init__(self, accounts: Accounts, seal: Seal, vault: Vault) -> None:
        self._accounts = accounts
        self._seal = seal
        self._vault = vault

    def check(self) -> None:
        """Raise WrongSecretKeyError if the seal was made with another key.

        In a catalogue without a seal, of an older release, write one if this host can decrypt
        a user's secret; otherwise pass.
        """
        if self._seal.find() is None and self._opens_a_secret():
            self._seal.put(self._made())
        self.require()

    def require(self) -> None:
        """Raise WrongSecretKeyError if there is a seal and it was made with another key."""
        sealed = self._seal.find()
        if sealed is None:
            return
        try:
            self._vault.open(_NAME, sealed)
        except VaultError as error:
            raise WrongSecretKeyError from error

    def claim(self) -> None:
        """Check that this host may encrypt secrets; write the seal if there is none yet.

        Raises WrongSecretKeyError if the catalogue uses another key, and VaultError if a key
        file can't be made.
        """
        if self._seal.find() is None:
            if self._accounts.has_keys() and not self._opens_a_secret():
                raise WrongSecretKeyError
            self._seal.put(self._made())
        self.require()

    def adopt(self) -> list[str]:
        """Replace the seal by one of this host's key, since the key before is lost.

        Return the users whose secrets it can't decrypt, sorted; [] if it can decrypt all.
        Raises VaultError if a key file can't be made.
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
