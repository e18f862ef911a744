"""Process definitions: texts kept as named versions, published when the verifier and their own scenarios let them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from pydantic import JsonValue

from content.database import Database
from content.templates import parse
from content.versioned import Address, Version
from content.versions import VersionStore
from engine.errors import Conflict, Invalid
from engine.process.definition import parse_definition
from engine.process.findings import Finding
from engine.process.simulate import Played, play_all
from engine.values import Principal

Verifier = Callable[[Principal, str], Awaitable[Sequence[Finding]]]
"""Reads a definition for a principal and says what is wrong with it; raises `Invalid` for a text it cannot read."""

MAX_COMMENT = 2000


def rendered(template: str, data: Mapping[str, JsonValue]) -> str:
    """Return a text of a definition filled in, as a scenario shows it."""
    return parse(template, name="text").render(dict(data))


class ProcessDefinitions(VersionStore):
    """The process definitions of one database. Drafts are kept right or wrong; warnings don't stop a publication."""

    def __init__(self, database: Database, verifier: Verifier) -> None:
        """Take the verifier from whoever knows which tools and interactions there are."""
        super().__init__(database, "process", check=self._refuse_unsound)
        self._verifier = verifier

    async def verify(self, principal: Principal, address: str | Address) -> tuple[Finding, ...]:
        """Return what the verifier says about the text at an address."""
        return tuple(await self._verifier(principal, (await self.find(principal, address)).text))

    async def publish(
        self, principal: Principal, name: str, *, comment: str = "", revision: int | None = None, despite: str = ""
    ) -> Version:
        """Make the draft the next version, as every store does, once the verifier and the scenarios let it.

        `despite` is the reason for which it is published though scenarios fail; it stands in the comment of the
        version, with what failed. Errors of the verifier have no such way out.

        Raises:
            Invalid: the definition has errors, or scenarios that fail; `findings` or `failing` have them.
            Denied: the caller is no publisher.
            NotFound: there is no draft.
            Conflict: the draft is at another revision than the one reviewed.
        """
        if not despite.strip():
            return await super().publish(principal, name, comment=comment, revision=revision)
        self._require(principal, "publisher")
        draft = await self.get_draft(principal, name)
        if revision is not None and draft.revision != revision:
            raise Conflict(f"the draft of {name!r} is at revision {draft.revision}, not {revision}; review that one")
        await self._refuse_errors(principal, name, draft.text)
        failing = await _failing(draft.text)
        if failing:
            names = ", ".join(one.scenario for one in failing)
            comment = f"{comment}\nPublished though scenarios fail ({names}): {despite.strip()}".strip()
        if len(comment) > MAX_COMMENT:
            raise Invalid(f"comment and reason have {len(comment)} characters; {MAX_COMMENT} are kept", field="despite")
        version = await self._publish_checked(principal, draft, comment)
        if version is None:
            raise Conflict(f"the draft of {name!r} changed while it was being published; review it again")
        return version

    async def publish_text(
        self, principal: Principal, name: str, text: str, *, comment: str = "", despite: str = ""
    ) -> Version:
        """Make `text` the draft, whatever it was, and publish it: for files that are kept elsewhere.

        Raises:
            Problem: as `put_draft` and `publish`.
        """
        draft = await self._as_draft(principal, name, text)
        return await self.publish(principal, name, comment=comment, revision=draft.revision, despite=despite)

    async def _refuse_unsound(self, principal: Principal, name: str, text: str) -> None:
        await self._refuse_errors(principal, name, text)
        failing = await _failing(text)
        if failing:
            raise Invalid(
                f"{len(failing)} scenarios of the process {name!r} fail, the first is {failing[0].scenario!r}: "
                f"{failing[0].problems[0]}. Mend them, or publish it with the reason in `despite`",
                failing=[{"scenario": one.scenario, "problems": list(one.problems)} for one in failing],
            )

    async def _refuse_errors(self, principal: Principal, name: str, text: str) -> None:
        findings = await self._verifier(principal, text)
        errors = [finding for finding in findings if finding.severity == "error"]
        if errors:
            raise Invalid(
                f"the process {name!r} has {len(errors)} errors, the first at {errors[0].path or '/'}: "
                f"{errors[0].message}",
                findings=[finding.model_dump() for finding in findings],
            )


async def _failing(text: str) -> list[Played]:
    """Return the scenarios that are not as they expect."""
    definition = parse_definition(text)
    if not definition.scenarios:
        return []
    # A simulation has an event loop of its own, in which time passes at once.
    report = await asyncio.to_thread(play_all, definition, render=rendered)
    return [one for one in report.played if not one.passed]
