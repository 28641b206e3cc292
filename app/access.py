"""Who may write: an editor within their municipality, an admin everywhere. Reading is open."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.changes import hold
from app.kit import keys
from app.kit.bulk import Lookup
from app.kit.database import Writing
from app.kit.errors import Forbidden, Unauthorized
from app.kit.fetching import Prepared
from app.kit.http import IfMatch, dumps, must_match, tag
from app.kit.listing import Listing
from app.kit.session import Session
from app.models import API_KEY, Role, now
from app.shapes import RowId

# Shown in the OpenAPI text; the check is ours, so that its answers are problems like all others.
bearer = HTTPBearer(auto_error=False, description="A key made by `shinchoku keys create`", scheme_name="key")


@dataclass(frozen=True)
class Writer:
    """The holder of a valid key."""

    role: str
    municipality_code: str | None

    def must_be_allowed(self, municipality_code: str) -> None:
        if self.role != Role.ADMIN and municipality_code != self.municipality_code:
            raise Forbidden(
                f"このキーで書き込めるのは {self.municipality_code} のデータだけです。",
                f"This key writes for municipality {self.municipality_code} only.",
            )


def writer(
    session: Writing, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Writer:
    """The holder of the request's key, or 401."""
    key = credentials and keys.read(credentials.credentials)
    if not key and credentials:
        raise _unauthorized(
            "送られた Authorization はキーの形をしていません。発行時に表示された shk_… をそのまま付けてください。",
            "What Authorization carries is not a key. Send it as it was shown when it was made: Bearer shk_…",
        )
    if not key:
        raise _unauthorized(
            "Authorization: Bearer shk_… の形でキーを付けてください。",
            "Send a key as Authorization: Bearer shk_…",
        )
    return authenticate(session, key)


KEY_WITH = Prepared(sa.select(API_KEY).where(API_KEY.c.id == sa.bindparam("id")))


def authenticate(session: Session, key: keys.Key) -> Writer:
    found = next(iter(KEY_WITH.fetch(session, {"id": key.id})), None)
    if found is None or not key.proves(found["secret_sha256"]):
        raise _unauthorized("このキーは登録されていません。", "This key is not known.")
    time = now()
    if found["revoked_at"] is not None:
        raise _unauthorized("このキーは取り消されています。", "This key has been revoked.")
    if found["expires_at"] is not None and found["expires_at"] <= time:
        raise _unauthorized("このキーの有効期限が切れています。", "This key has expired.")
    if found["last_used_at"] is None or time - found["last_used_at"] > timedelta(hours=1):
        session.execute(sa.update(API_KEY).where(API_KEY.c.id == key.id).values(last_used_at=time))
    session.info["api_key_id"] = key.id
    return Writer(found["role"], found["municipality_code"])


def _unauthorized(ja: str, en: str) -> Unauthorized:
    return Unauthorized(ja, en, headers={"WWW-Authenticate": 'Bearer realm="shinchoku"'})


WriterKnown = Annotated[Writer, Depends(writer)]


@dataclass(frozen=True)
class Held:
    """A row as it is now, its plan held, for a writer who may change it."""

    row: dict[str, Any]
    if_match: str | None

    def confirm(self) -> None:
        """The last check before the change (RFC 9110, 13.2.1): the writer has seen the row as it is."""
        must_match(self.if_match, tag(dumps(self.row)))


def held_row(
    session: Session,
    writer: Writer,
    listing: Listing,
    id: int,
    its_plan: Lookup,
    if_match: str | None,
) -> Held:
    hold(session, its_plan, [(id,)])
    row = listing.one(session, id)
    writer.must_be_allowed(row["municipality_code"])
    return Held(row, if_match)


def changing(listing: Listing, its_plan: Lookup) -> Callable[..., Held]:
    """A dependency: the row in the path, ready to be changed."""

    def dependency(id: RowId, writer: WriterKnown, session: Writing, if_match: IfMatch) -> Held:
        return held_row(session, writer, listing, id, its_plan, if_match)

    return dependency
