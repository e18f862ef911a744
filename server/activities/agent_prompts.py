"""The loop's own prompts as a run has them: the tenant's interactions of those names, else those of the product.

They are resolved and rendered once, when the run is planned, and recorded with its plan: a run keeps its words while
somebody publishes others.
"""

from functools import cache
from hashlib import sha256
from pathlib import Path

from pydantic import JsonValue

from content.interactions import Interaction, Interactions, render
from content.templates import parse_prompt
from engine.agent.prompts import NAMES
from engine.errors import Invalid, NotFound
from engine.values import Principal, Value

FOLDER = Path(__file__).resolve().parents[1] / "prompts"
BUILT_IN = "built-in"


class LoopPrompt(Value):
    """One prompt of a run: which version of which interaction it is, and its words."""

    interaction: str
    digest: str
    text: str


async def loop_prompts(interactions: Interactions, principal: Principal) -> dict[str, JsonValue]:
    """Return the prompts of a new run by name, as its plan records them.

    Raises:
        Invalid: the tenant's own version of one needs parameters, or says nothing.
    """
    return {name: (await _prompt(interactions, principal, name)).model_dump(mode="json") for name in NAMES}


def words_of(prompts: JsonValue, name: str) -> str:
    """Return the words of a prompt as a plan records it; a run from before prompts were recorded has the product's."""
    kept = prompts.get(name) if isinstance(prompts, dict) else None
    return (built_in(name) if kept is None else LoopPrompt.model_validate(kept)).text


async def _prompt(interactions: Interactions, principal: Principal, name: str) -> LoopPrompt:
    try:
        found = await interactions.resolve(principal, name)
    except NotFound:
        return built_in(name)
    return _rendered(found, found.address)


@cache
def built_in(name: str) -> LoopPrompt:
    """Return the product's own prompt of that name."""
    source = (FOLDER / f"{name}.prompt").read_text(encoding="utf-8")
    found = Interaction(name, 0, sha256(source.encode()).hexdigest(), parse_prompt(source, name=name))
    return _rendered(found, f"{name}@{BUILT_IN}")


def _rendered(found: Interaction, address: str) -> LoopPrompt:
    try:
        messages = render(found, {}).transcript()
    except Invalid as problem:
        raise Invalid(
            f"the interaction {address} takes the place of a prompt of the agent loop, which gives it no parameters: "
            f"{problem.message}. Publish a version without required parameters.",
            **problem.details,
        ) from problem
    text = "\n\n".join(message.text.strip() for message in messages).strip()
    if not text:
        raise Invalid(f"the interaction {address} takes the place of a prompt of the agent loop and says nothing")
    return LoopPrompt(interaction=address, digest=found.digest, text=text)
