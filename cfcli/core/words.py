"""Numbers of things, in words."""


def counted(n: int, what: str) -> str:
    """A number of things in words: ``1 row``, ``2,000 rows``.

    Args:
        n: how many there are.
        what: one of them; its plural ends in s.
    """
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def either(n: int, one: str, more: str) -> str:
    """The form of a word that fits a number of things, as ``is`` or ``are``.

    Args:
        n: how many there are.
        one: the form for one.
        more: the form for none and for several.
    """
    return one if n == 1 else more
