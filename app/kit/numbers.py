"""Whole numbers, as queries and JSON bodies write them."""

from typing import Any

LARGEST = 2**53 - 1  # the largest integer that every JSON client reads exactly


def digits(value: Any) -> Any:
    """A query carries text: only plain digits are a number, not `1_0`, `1.0` or full-width forms."""
    if isinstance(value, str) and value.isascii() and value.removeprefix("-").isdecimal():
        return int(value[:100])  # long enough to be out of any bounds
    return value if type(value) is int else None


def whole(value: Any) -> Any:
    """In JSON 5.0 is the integer 5 as well; `true` and "5" are not."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
