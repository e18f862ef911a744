"""The frame of every page, and the small things that pages share."""

from datetime import datetime

from server.pages.markup import Child, Html, element, joined


def page(title: str, *content: Child, user: str = "", script: bool = False, module: str = "") -> str:
    """Return a whole page; `script` adds the module that keeps a run live, `module` one by its name, with its style."""
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{title} · Upstairs"),
        element("link", rel="stylesheet", href="/static/app.css"),
        element("link", rel="icon", type="image/svg+xml", href="/static/icon.svg"),
    ]
    if script:
        head.append(element("script", type="module", src="/static/run.js"))
    if module:
        head.append(element("link", rel="stylesheet", href=f"/static/{module}.css"))
        head.append(element("script", type="module", src=f"/static/{module}.js"))
    places = (("Runs", "/runs"), ("Inbox", "/inbox"), ("Processes", "/processes"), ("Capacity", "/capacity"))
    links = joined(*(element("a", name, href=path) for name, path in places))
    bar = element("header", element("strong", "Upstairs"), element("nav", links), element("span", user, class_="user"))
    body = element("body", bar, element("main", element("h1", title), *content))
    return f"<!doctype html>{element('html', element('head', *head), body, lang='en')}"


def message_page(title: str, message: str, *, user: str = "") -> str:
    """Return a page that says one thing."""
    return page(title, element("p", message, role="alert"), user=user)


def badge(status: str) -> Html:
    """Return a status as a coloured word."""
    return element("span", status, class_=f"badge {status}")


def moment(at: datetime | None) -> Html:
    """Return a time with its machine-readable form; the seconds are enough for people."""
    if at is None:
        return Html("")
    return element("time", at.strftime("%Y-%m-%d %H:%M:%S"), datetime=at.isoformat())


def facts(pairs: list[tuple[str, Child]]) -> Html:
    """Return name and value pairs as a description list, without those that are empty."""
    rows = [joined(element("dt", name), element("dd", value)) for name, value in pairs if value not in (None, "")]
    return element("dl", *rows)
