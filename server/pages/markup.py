"""HTML as nested calls; every text is escaped where it enters."""

from html import escape

VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})


class Html(str):
    """Markup that may stand in a page as it is."""

    __slots__ = ()


Child = str | int | float | None


def element(name: str, /, *children: Child, **attributes: str | int | bool | None) -> Html:
    """Return `<name …>children</name>`; strings that are not `Html` are escaped.

    `class_` and `for_` lose their underscore, others become hyphens. True gives a bare attribute; None and False none.
    """
    opening = name + "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return Html(f"<{opening}>")
    return Html(f"<{opening}>{joined(*children)}</{name}>")


def joined(*children: Child) -> Html:
    """Return the children one after another, escaped where they are plain text."""
    return Html(
        "".join(child if isinstance(child, Html) else escape(str(child)) for child in children if child is not None)
    )


def _attribute(key: str, value: str | int | bool | None) -> str:
    if value is None or value is False:
        return ""
    key = key.rstrip("_").replace("_", "-")
    return f" {key}" if value is True else f' {key}="{escape(str(value))}"'
