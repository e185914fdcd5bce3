"""Users and items, side by side."""

from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Pair(NamedTuple, Generic[T]):
    """Something of the users and the same of the items.

    Attributes:
        user: of the users.
        item: of the items.
    """

    user: T
    item: T
