"""Process definitions: texts kept as named versions, published only when the verifier finds no error."""

from collections.abc import Awaitable, Callable, Sequence

from content.database import Database
from content.versioned import Address
from content.versions import VersionStore
from engine.errors import Invalid
from engine.process.findings import Finding
from engine.values import Principal

Verifier = Callable[[Principal, str], Awaitable[Sequence[Finding]]]
"""Reads a definition for a principal and says what is wrong with it; raises `Invalid` for a text it cannot read."""


class ProcessDefinitions(VersionStore):
    """The process definitions of one database. Drafts are kept right or wrong; warnings don't stop a publication."""

    def __init__(self, database: Database, verifier: Verifier) -> None:
        """Take the verifier from whoever knows which tools and interactions there are."""
        super().__init__(database, "process", check=self._refuse_errors)
        self._verifier = verifier

    async def verify(self, principal: Principal, address: str | Address) -> tuple[Finding, ...]:
        """Return what the verifier says about the text at an address."""
        return tuple(await self._verifier(principal, (await self.find(principal, address)).text))

    async def _refuse_errors(self, principal: Principal, name: str, text: str) -> None:
        findings = await self._verifier(principal, text)
        errors = [finding for finding in findings if finding.severity == "error"]
        if errors:
            raise Invalid(
                f"the process {name!r} has {len(errors)} errors, the first at {errors[0].path or '/'}: "
                f"{errors[0].message}",
                findings=[finding.model_dump() for finding in findings],
            )
