"""Lists that continue: filtered, ordered, counted, and read on from a cursor while rows come and go."""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, cached_property, partial, wraps
from typing import Annotated, Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

import orjson
import sqlalchemy as sa
from fastapi import Request, Response
from pydantic import BaseModel, BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema
from sqlalchemy.sql.visitors import iterate

from app.kit.database import database_of
from app.kit.errors import Finding, Invalid, NotFound, Say
from app.kit.fetching import Prepared
from app.kit.http import answer, unless_known
from app.kit.numbers import LARGEST, digits
from app.kit.remembering import remembered
from app.kit.session import Session
from app.kit.text import refusal

# ---------------------------------------------------------------------------------------------------------
# Parameters


Number = Annotated[int, Field(ge=1, le=LARGEST), BeforeValidator(digits)]


@dataclass(frozen=True)
class Names:
    """A comma list of names from a closed set; `signed` ones may each carry a `-` for descending."""

    allowed: tuple[str, ...]
    description: str
    signed: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        one = f"{'-?' if self.signed else ''}({'|'.join(self.allowed)})"
        told = f"{self.description}: {', '.join(self.allowed)}"
        return {**handler(schema), "pattern": f"^{one}(, ?{one})*$", "description": told}

    def _check(self, value: str) -> str:
        names = [name.strip(" ") for name in value.split(",")]
        for name in names:
            if (name.removeprefix("-") if self.signed else name) not in self.allowed:
                allowed = ", ".join(self.allowed)
                raise refusal(
                    "names",
                    f"次の名前をコンマ区切りで指定してください{'（前に - を付けると降順）' * self.signed}: {allowed}",
                    f"Give a comma list of these names{', each with - before it to descend' * self.signed}: {allowed}",
                )
        return ",".join(dict.fromkeys(names))  # what is named again says nothing more, however often


class Question(BaseModel):
    """What is asked of a list, and how long that may take."""

    def given(self) -> dict[str, Any]:
        """What differs between two that are asked alike: the values of the parameters of their statements, each by the
        name of its field, and where there are several by that of the part (`field__part`)."""
        return {}

    @property
    def short(self) -> bool:
        """Whether an index tells at once how many rows there are, and which are the first."""
        return True

    @property
    def in_order(self) -> bool:
        """Whether nothing has to be sorted that may be much."""
        return True


class PageQuery(Question):
    """What every list takes."""

    limit: Annotated[
        int, Field(ge=1, le=1000, description="Rows a page, 1 to 1000 (件数)"), BeforeValidator(digits)
    ] = 100
    cursor: (
        Annotated[
            str,
            Field(
                max_length=4000,  # a title of 500 characters fits, however they are written
                description="Where to read on: the `next` of a page with the same filters and order (続きの位置)",
            ),
        ]
        | None
    ) = None


# ---------------------------------------------------------------------------------------------------------
# The list


@dataclass(frozen=True, eq=False)
class Listing:
    """A noun's rows as the API shows them: the columns in order, where they come from, how they may be sorted.

    Sort keys are never null. What is alike in all of them comes in the usual order, of which a row's `place` is one
    value: an index of a filter or a sort key that ends in it gives rows in order.
    """

    source: sa.FromClause
    columns: Mapping[str, sa.ColumnElement[Any]]
    sorts: Mapping[str, sa.ColumnElement[Any]]
    order: str
    place: sa.ColumnElement[Any]
    finish: Callable[[dict[str, Any]], dict[str, Any]] = lambda row: row  # what SQL does not say

    @property
    def sorting(self) -> Names:
        return Names(tuple(self.sorts), "What to sort by; `-` descends (並び順)", signed=True)

    @property
    def choosing(self) -> Names:
        return Names(tuple(self.columns), "Answer with these fields only (項目の選択)")

    @property
    def id(self) -> sa.ColumnElement[int]:
        return self.columns["id"]

    @cached_property
    def _every(self) -> sa.Select[Any]:
        """Made once: to make it takes as long as to run it."""
        shown = (column.label(name) for name, column in self.columns.items())
        return sa.select(*shown).select_from(self.source)

    @cached_property
    def _one(self) -> Prepared:
        return Prepared(self._every.where(self.id == sa.bindparam("id")))

    def select(self, *conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
        return self._every.where(*conditions)

    def counting(self, *conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
        """How many rows there are. Each has its parents: those that no condition asks about are not looked up."""
        rows = sa.select(sa.func.count()).select_from(_part_with(_tables_of(conditions), self.source))
        return rows.where(*conditions)

    def one(self, session: Session, id: int) -> dict[str, Any]:
        """The row as the API shows it, or 404."""
        found = self._one.fetch(session, {"id": id})
        if not found:
            raise no_such_row()
        return self.finish(found[0])


def _tables_of(conditions: Iterable[sa.ColumnElement[bool]]) -> set[sa.FromClause]:
    found = (element for condition in conditions for element in iterate(condition))
    return {element.table for element in found if isinstance(element, sa.Column)}


def _part_with(tables: set[sa.FromClause], source: sa.FromClause) -> sa.FromClause:
    """The joins that lead from the first table to these."""
    if not isinstance(source, sa.Join):
        return source
    if source.right not in tables or source.onclause is None:
        return _part_with(tables, source.left)
    return _part_with(tables | _tables_of([source.onclause]), source.left).join(source.right, source.onclause)


@dataclass(frozen=True)
class Wanted:
    """Which rows of a list are wanted."""

    # What they have to be, said so that indexes find all of them.
    conditions: Sequence[sa.ColumnElement[bool]]
    # Conditions of which each row fits one, if there are such: an index has the rows of each in order.
    apart: Sequence[sa.ColumnElement[bool]] = ()
    # The same conditions, if there is another way to say them for who wants the first few of many: the rows are gone
    # through in order, and each is looked at.
    early: Sequence[sa.ColumnElement[bool]] | None = None
    # Rows of another table by which these are found, if there are such. Where they are many, it takes less time to look
    # at each row here, even to count them.
    found_by: sa.Select[Any] | None = None
    # How many there are, if there is a shorter way to know it than to count them.
    number: sa.Select[Any] | None = None


MOST_APART = 5  # to say more of them takes longer than to sort what fits
MANY = 2_000  # so many rows are found and sorted in less time than it takes to look for few in vain


def no_such_row() -> NotFound:
    return NotFound(
        "見つかりません。削除された可能性もあります。", "There is no such row. It may have been removed."
    )


def page(
    request: Request,
    session: Session,
    listing: Listing,
    wanted: Callable[[], Wanted],
    query: PageQuery,
    revision: Any,
    expand: Callable[[list[dict[str, Any]]], None] | None = None,
) -> Response:
    """One page of the list: how many match in all, the rows, and the cursor of the rest."""
    place = place_of(request, listing, query)
    unless_known(request, revision.etag)
    found = rows_from(session, listing, wanted, query.limit, place)
    results = found.rows
    if expand:
        expand(results)
    if fields := getattr(query, "fields", None):
        picked = set(fields.split(","))
        results = [{name: value for name, value in row.items() if name in picked} for row in results]
    body = {
        "metadata": {
            "resultset": {"count": found.count, "limit": query.limit, "next": found.next},
            "revision": revision.seq,
        },
        "results": results,
    }
    headers = {"Link": f'<{_next_address(request, found.next)}>; rel="next"'} if found.next else {}
    return answer(request, body, etag=revision.etag, headers=headers)


MOST_AT_ONCE = 200  # rows


def listed(endpoint: Callable[..., Response]) -> Callable[..., Awaitable[Response]]:
    """For an endpoint that gives a page of what its `query` asks for, at once if an index gives it at once."""

    @wraps(endpoint)
    async def answer(**given: Any) -> Response:
        request, session, query = (given[name] for name in ("request", "session", "query"))
        step = partial(endpoint, **given)
        few = query.limit <= MOST_AT_ONCE and not getattr(query, "expand", None) and query.in_order
        short = few and (query.short or _key(session, _bound(request, query)) in session.info["counted"])
        return await database_of(request).run(step, short=short)

    return answer


@dataclass(frozen=True)
class Found:
    """How many rows match in all, those of one page, and the cursor of the rest."""

    count: int
    rows: list[dict[str, Any]]
    next: str | None


def rows_from(
    session: Session, listing: Listing, wanted: Callable[[], Wanted], limit: int, place: "Place"
) -> Found:
    asked = _asked(session, listing, wanted, place)
    early, count = _way(session, asked, place)
    continued = place.position is not None
    position = {f"_{depth}": value for depth, value in enumerate(place.position or ())}
    rows = asked.rows(early, continued).fetch(session, {**place.given, **position, "_limit": limit + 1})
    more = len(rows) > limit
    number = count() if more or continued else len(rows)
    del rows[limit:]
    positions = [[row.pop(key) for key in asked.keys] for row in rows]
    return Found(
        number, [listing.finish(row) for row in rows], seal(positions[-1], place.bound) if more else None
    )


class _Asked:
    """What the pages of a list ask the database: to say it takes longer than to be answered, so it is said once."""

    def __init__(self, listing: Listing, wanted: Wanted, order: "Order") -> None:
        self.listing, self.wanted, self.order = listing, wanted, order
        self.keys = [f"_key_{depth}" for depth in range(len(order))]
        self.rows, self.count, self.others = cache(self._rows), cache(self._count), cache(self._others)

    def _conditions(self, early: bool) -> Sequence[sa.ColumnElement[bool]]:
        return (self.wanted.early if early else self.wanted.conditions) or ()

    def _rows(self, early: bool, continued: bool) -> Prepared:
        """The rows of a page and one more; where it is `continued`, those beyond a position."""
        listing, limit = self.listing, sa.bindparam("_limit", type_=sa.Integer)
        here = [*self._conditions(early), *([_after(self.order)] if continued else [])]
        # Where few fit, no index of the order is to be gone through for them.
        few = self.wanted.early is not None and not early
        columns = [sa.func.coalesce(column, column) if few else column for column, _ in self.order]
        order = _directed(columns, self.order)
        keys = [column.label(key) for key, (column, _) in zip(self.keys, self.order, strict=True)]
        if 1 < len(self.wanted.apart) <= MOST_APART:  # the first of the first rows of each are enough
            some = sa.select(listing.id.label("id"), *keys).select_from(
                _part_with(_tables_of([*here, *order]), listing.source)
            )
            firsts = [
                some.where(*here, one).order_by(*order).limit(limit).subquery() for one in self.wanted.apart
            ]
            found = sa.union_all(*(sa.select(first) for first in firsts)).subquery()
            first = _directed([found.c[key] for key in self.keys], self.order)
            here = [listing.id.in_(sa.select(found.c.id).order_by(*first).limit(limit))]
        return Prepared(listing.select(*here).add_columns(*keys).order_by(*order).limit(limit))

    def _count(self, early: bool) -> Prepared:
        """How many rows there are in all."""
        number = self.wanted.number
        return Prepared(self.listing.counting(*self._conditions(early)) if number is None else number)

    def _others(self) -> Prepared | None:
        """How many rows there are that these are found by, up to what are many."""
        found_by = self.wanted.found_by
        if found_by is None:
            return None
        return Prepared(sa.select(sa.func.count()).select_from(found_by.limit(MANY + 1).subquery()))


MOST_ASKED = 200
_known: dict[Any, _Asked] = {}


def _asked(session: Session, listing: Listing, wanted: Callable[[], Wanted], place: "Place") -> _Asked:
    key = listing, place.shape, session.info.get("horizon")  # on which a history depends, too
    return remembered(_known, MOST_ASKED, key, lambda: _Asked(listing, wanted(), place.order))


def _way(session: Session, asked: _Asked, place: "Place") -> tuple[bool, Callable[[], int]]:
    """Whether the first rows are best found by the early conditions, and how all of them are counted."""

    def number(counting: Prepared) -> int:
        return int(counting.scalar(session, place.given) or 0)

    def counted(early: bool) -> int:
        return _counted(session, place.bound, lambda: number(asked.count(early)))

    if asked.wanted.early is None:
        return False, partial(counted, False)
    if (others := asked.others()) is not None:
        many = _counted(session, b"found by " + place.bound, lambda: number(others)) > MANY
        return many, partial(counted, many)
    return counted(False) > MANY, partial(counted, False)


MOST_COUNTS = 10_000


def _counted(session: Session, bound: bytes, count: Callable[[], int]) -> int:
    """All pages of a list say how many rows it has: they are counted once in each state of the data."""
    known: dict[Any, int] = session.info.get("counted", {})
    return remembered(known, MOST_COUNTS, _key(session, bound), count)


def _key(session: Session, bound: bytes) -> tuple[Any, ...]:
    # Much may be asked for: what is kept of it is short.
    return hashlib.blake2b(bound, digest_size=16).digest(), *(
        session.info.get(name) for name in ("epoch", "revision", "horizon", "mark")
    )


def _next_address(request: Request, cursor: str) -> str:
    kept = [(k, v) for k, v in parse_qsl(request.url.query, keep_blank_values=True) if k != "cursor"]
    return f"{request.url.path}?{urlencode([*kept, ('cursor', cursor)])}"


# ---------------------------------------------------------------------------------------------------------
# Keyset paging: a cursor is the last row's place in the order, bound to the filters and the order it was made for

Order = list[tuple[sa.ColumnElement[Any], bool]]  # (by what, whether descending)


def _directed(columns: Sequence[sa.ColumnElement[Any]], order: Order) -> list[sa.UnaryExpression[Any]]:
    """The columns, each the way that its place in the order has."""
    return [column.desc() if down else column.asc() for column, (_, down) in zip(columns, order, strict=True)]


class Place(NamedTuple):
    """Where in a list, in which order, to begin."""

    order: Order
    bound: bytes
    position: Sequence[Any] | None
    shape: Any  # what tells its statements from others
    given: Mapping[str, Any]  # and what they are given


def place_of(request: Request, listing: Listing, query: PageQuery) -> Place:
    order = order_of(listing, getattr(query, "sort", None) or listing.order)
    bound = _bound(request, query)
    position = None if query.cursor is None else _position(query.cursor, bound, order)
    given = query.given()
    return Place(order, bound, position, (request.scope["path"], shape_of(query, given)), given)


FREE = {"limit", "cursor", "fields", "expand"}


def shape_of(query: BaseModel, given: Mapping[str, Any]) -> tuple[Any, ...]:
    """What two queries have in common whose statements differ in what they are given alone."""
    names = {name.partition("__")[0] for name in given}
    others = query.model_dump_json(exclude=FREE | names, exclude_none=True)
    return others, *((name, value is None) for name, value in given.items())


def order_of(listing: Listing, sort: str) -> Order:
    ways: dict[str, bool] = {}
    for name in sort.split(","):
        ways.setdefault(name.removeprefix("-"), name.startswith("-"))
    *_, last = ways.values()
    usual = [name.removeprefix("-") for name in listing.order.split(",")]
    if [*ways] == usual[: len(ways)] and len({*ways.values()}) == 1:
        return [(listing.place, last)]
    order: Order = []
    for name, down in ways.items():
        column = listing.sorts[name]
        order.append((column, down))
        if getattr(column, "primary_key", False):
            return order
    # Ties follow the last direction, so that the tail of the order stays one range of an index.
    return [*order, (listing.place, last)]


def _after(order: Order, depth: int = 0) -> sa.ColumnElement[bool]:
    """Beyond the position, whose values are named _0, _1 and so on. Row values compare fastest, but only where all run
    the same way: (a, b) > (1, 2) for one direction, and a <= 1 AND (a < 1 OR b > 2) where it turns."""
    down = order[0][1]
    turn = next((place for place, (_, way) in enumerate(order) if way != down), len(order))
    columns = [column for column, _ in order[:turn]]
    values = [sa.bindparam(f"_{depth + n}", type_=column.type) for n, column in enumerate(columns)]
    here, there = (columns[0], values[0]) if turn == 1 else (sa.tuple_(*columns), sa.tuple_(*values))
    beyond: sa.ColumnElement[bool] = here < there if down else here > there
    if turn == len(order):
        return beyond
    reached: sa.ColumnElement[bool] = here <= there if down else here >= there
    return sa.and_(reached, sa.or_(beyond, _after(order[turn:], depth + turn)))


def _bound(request: Request, query: PageQuery) -> bytes:
    """What a cursor is bound to: everything that decides which rows there are and in what order."""
    asked = [request.url.path, query.model_dump(mode="json", exclude=FREE)]
    return orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)


def seal(position: Any, bound: bytes) -> str:
    """A cursor: it says where, and holds only for what it is bound to."""
    written = orjson.dumps(position, option=orjson.OPT_UTC_Z)
    return urlsafe_b64encode(_mark(written, bound) + written).decode().rstrip("=")


def unseal(cursor: str, bound: bytes) -> Any:
    """What was sealed, or ValueError."""
    raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    position = orjson.loads(raw[9:])
    if cursor != seal(position, bound):
        raise ValueError("this cursor was made for something else, or by somebody else")
    return position


def _mark(written: bytes, bound: bytes) -> bytes:
    return hashlib.blake2b(written, key=hashlib.blake2b(bound).digest(), digest_size=9).digest()


def _position(cursor: str, bound: bytes, order: Order) -> list[Any]:
    try:
        position = [
            _typed(value, column.type)
            for value, (column, _) in zip(unseal(cursor, bound), order, strict=True)
        ]
    except (ValueError, TypeError):
        raise Invalid(
            Finding(
                Say(
                    "cursor は、同じ条件と並び順の前のページの next をそのまま渡してください。",
                    "Pass the `next` of a page with the same filters and order, unchanged.",
                ),
                parameter="cursor",
            )
        ) from None
    return position


def _typed(value: Any, of: sa.types.TypeEngine[Any]) -> Any:
    """A value that the column can have: anybody can make a cursor that fits its request."""
    wanted = getattr(of, "impl_instance", of).python_type  # what a decorated type is in the end
    if wanted is datetime:
        value = datetime.fromisoformat(value)
        good = value.utcoffset() == timedelta(0)
    elif wanted is int:
        most = 2**31 - 1 if type(of) is sa.Integer else LARGEST
        good = type(value) is int and -most <= value <= most
    else:
        good = type(value) is wanted and "\0" not in value
    if not good:
        raise ValueError
    return value
