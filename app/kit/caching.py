"""Kept answers: a public answer is a function of its request and of the state of the database. So it is kept, ready to
send, until that state moves, whichever process moved it.

Nothing is kept of what is asked with a key, of what is streamed, and of what its reader must not keep either. The state
is asked for each request: what was acknowledged before the request came is in its answer.
"""

from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.kit.standing import Stand

MOST_BYTES = 32 << 20  # of one worker
LARGEST = 1 << 20
OVERHEAD = 1_000  # what an answer takes besides its body and what was asked, more or less

# What an answer may depend on besides its address, and what is never kept.
ASKED = {b"host", b"origin", b"accept", b"accept-language", b"accept-encoding", b"if-none-match"}
APART = {b"authorization", b"shinchoku-revision", b"last-event-id"}


class Answer(NamedTuple):
    start: Message
    body: Message
    size: int


class Kept:
    """Sends what is kept, and keeps what may be."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._answers: dict[tuple[Any, ...], Answer] = {}
        self._stand: Stand | None = None
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = _asked(scope)
        stand = await scope["app"].state.database.stand() if asked else None
        if asked is None or stand is None:
            await self.app(scope, receive, send)
            return
        if stand != self._stand:
            self._answers.clear()
            self._stand, self._bytes = stand, 0
        if answer := self._answers.get(asked):
            await send(answer.start)
            await send(answer.body)
            return
        copy = _Copy(send)
        await self.app(scope, receive, copy)
        # If the state moved on while it was made, it is not asked for again.
        if stand == self._stand and copy.may_be_kept(scope, stand):
            self._keep(asked, *copy.parts)

    def _keep(self, asked: tuple[Any, ...], start: Message, body: Message) -> None:
        size = OVERHEAD + len(body["body"]) + len(repr(asked)) + len(repr(start["headers"]))
        if before := self._answers.pop(asked, None):  # several asked for it before it was there
            self._bytes -= before.size
        exact = bytes(memoryview(body["body"]))  # as it is made, it may take twice its length
        self._answers[asked] = Answer(start, {**body, "body": exact}, size)
        self._bytes += size
        while self._bytes > MOST_BYTES:
            self._bytes -= self._answers.pop(next(iter(self._answers))).size


def _asked(scope: Scope) -> tuple[Any, ...] | None:
    """All that an answer may depend on; nothing where it is not to be kept."""
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
        return None
    told = []
    for header in scope["headers"]:
        name = header[0]
        if name in ASKED:
            told.append(header)
        elif name in APART:
            return None
    return scope["method"], scope["scheme"], scope["raw_path"], scope["query_string"], *told


class _Copy:
    """Passes an answer on, and remembers its parts: of a stream, no more than tells that it is one."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.parts: list[Message] = []

    async def __call__(self, message: Message) -> None:
        if len(self.parts) < 3:
            self.parts.append(message)
        await self._send(message)

    def may_be_kept(self, scope: Scope, stand: Stand) -> bool:
        if len(self.parts) != 2:
            return False
        start, body = self.parts
        headers = dict(start["headers"])
        state = scope.get("state", {})
        return (
            start["status"] in (200, 304)
            and headers.get(b"cache-control", b"").startswith(b"public")
            and state.get("shown") == stand[:3]  # it may have come from a standby, or from a later state
            and not state.get("waited")
            and not body.get("more_body")
            and len(body["body"]) <= LARGEST
        )
