"""One value for users and one for items."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
U = TypeVar("U")
Entity = Literal["user", "item"]


@dataclass(frozen=True)
class Pair(Generic[T]):
    """What users and items each have one of: an id map, a column, a count.

    Iterating over it gives the value of users, then that of items.

    Attributes:
        user: the value of users.
        item: the value of items.
    """

    user: T
    item: T

    def __iter__(self) -> Iterator[T]:
        yield self.user
        yield self.item

    def __getitem__(self, entity: Entity) -> T:
        return {"user": self.user, "item": self.item}[entity]

    def named(self) -> Iterator[tuple[Entity, T]]:
        """The name and the value of users, then those of items."""
        yield "user", self.user
        yield "item", self.item

    def map(self, function: Callable[[T], U]) -> "Pair[U]":
        """Apply a function to both values.

        Args:
            function: takes one value and returns the new one.
        """
        return Pair(function(self.user), function(self.item))
