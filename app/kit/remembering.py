"""What takes long to make and is wanted again."""

from collections.abc import Callable, Hashable
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
Made = TypeVar("Made")


def remembered(known: dict[Key, Made], most: int, key: Key, make: Callable[[], Made]) -> Made:
    """What is known under the key, or made and then known. Beyond so many, all is forgotten and begins anew."""
    try:
        return known[key]
    except KeyError:
        made = make()
        if len(known) >= most:
            known.clear()
        known[key] = made
        return made
