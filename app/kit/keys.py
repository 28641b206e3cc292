"""API keys: made once, shown once, kept as a hash."""

import hashlib
import hmac
import re
import secrets
from typing import NamedTuple


class Key(NamedTuple):
    """`shk_<id>_<secret>`: the id finds the row, the secret (256 random bits) proves the holder."""

    id: str
    secret: str

    @property
    def plain(self) -> str:
        return f"shk_{self.id}_{self.secret}"

    @property
    def sha256(self) -> str:
        # A fast hash is enough: nobody guesses 256 random bits.
        return hashlib.sha256(self.plain.encode()).hexdigest()

    def proves(self, sha256: str) -> bool:
        return hmac.compare_digest(self.sha256, sha256)


def make() -> Key:
    return Key(secrets.token_hex(4), secrets.token_hex(32))


FORM = re.compile("shk_([0-9a-f]{8})_([0-9a-f]{64})")


def read(plain: str) -> Key | None:
    found = FORM.fullmatch(plain)
    return Key(found[1], found[2]) if found else None


def masked(text: str) -> str:
    """For logs: who puts a key where none belongs has given it away already, but not to their readers."""
    return FORM.sub(r"shk_\1_…", text)
