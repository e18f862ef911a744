"""The page of the designer: its places, which the modules under `static/designer*.js` fill."""

from server.pages.layout import page
from server.pages.markup import Html, element


def designer_page(name: str, *, user: str) -> str:
    """Return the designer of the process `name`; without scripts it says what it needs."""
    return page(
        f"Design {name}",
        element("noscript", element("p", "The designer needs JavaScript; definitions can be published as files too.")),
        element("p", "", id="notice", role="status", aria_live="polite"),
        element("div", id="toolbar", role="toolbar", aria_label="Designer"),
        element(
            "div",
            _area("palette", "Add a node"),
            element("section", id="canvas", aria_label="Drawing of the process"),
            _area("side", "Properties"),
            id="designer",
            data_process=name,
            aria_busy="true",
        ),
        _area("findings", "Findings"),
        element("dialog", id="dialog"),
        user=user,
        module="designer",
    )


def _area(name: str, label: str) -> Html:
    return element("section", id=name, aria_label=label)
