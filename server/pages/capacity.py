"""The gates in front of models: limits as learned, what is in use, who waits, what is paused."""

from collections.abc import Sequence

from engine.capacity import GateReport, LimitReport
from server.pages.layout import badge, facts, moment, page
from server.pages.markup import Html, element, joined

BADGES = {"closed": "completed", "half-open": "waiting", "open": "failed"}
"""The colours of the statuses of runs, for those of breakers."""


def capacity_page(gates: Sequence[GateReport], *, user: str) -> str:
    """Return the page; gates stand in the order of their accounts."""
    if not gates:
        nothing = element("p", "No model was called yet. A gate appears with the first call of a model.")
        return page("Capacity", nothing, user=user)
    return page("Capacity", *(_gate(one) for one in gates), user=user)


def _gate(one: GateReport) -> Html:
    state = joined(element("span", one.breaker, class_=f"badge {BADGES[one.breaker]}"), f" {one.because}")
    about = facts(
        [
            ("Account", one.account),
            ("Breaker", state),
            ("Paused until", moment(one.paused_until)),
            ("Under way", one.under_way),
            ("Leased slices", one.leased),
            ("Next grant", moment(one.next_grant)),
            ("Granted", f"{one.granted:,}"),
            ("Refused", f"{one.refused:,}"),
            ("Planned with", f"{one.share:.0%} of the limits"),
        ]
    )
    waiting = [element("li", f"{name}: {count:,}") for name, count in sorted(one.waiting.items())]
    parts = [element("h2", one.model), about]
    if one.limits:
        parts.append(_limits(one.limits))
    if waiting:
        parts += [element("h3", "Waiting"), element("ul", *waiting)]
    return element("section", *parts)


def _limits(limits: Sequence[LimitReport]) -> Html:
    head = element("tr", *(element("th", name) for name in ("Quota", "Limit", "Per", "Planned per minute", "Left", "")))
    rows = [
        element(
            "tr",
            element("td", one.kind.replace("_", " ")),
            element("td", f"{one.limit:,.0f}"),
            element("td", f"{one.window_s:,.0f} s"),
            element("td", f"{one.planned_per_minute:,.0f}"),
            element("td", f"{one.left:,.0f}"),
            element("td", badge(one.learned)),
        )
        for one in limits
    ]
    return element("table", element("thead", head), element("tbody", *rows))
