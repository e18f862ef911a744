"""What the two Gemini wires share once an answer is whole: its blocks, parts and end become one `ModelReply`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import JsonValue

from engine.transcript import FinishKind, Message, ModelReply, ModelRequest, Native, Part, Usage
from providers.cache import Outgoing
from providers.errors import MalformedReply
from providers.gemini_render import CONTINUATION, PROVIDER
from providers.prices import price
from providers.streams import Attempt, Together
from providers.wire import ToolNames, parsed_output, settle

Block = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One request on its way, and all that its answer is read with."""

    api: str
    request: ModelRequest
    attempt: Attempt
    names: ToolNames
    going: Outgoing
    told: Together

    def check_text(self, block: Block) -> None:
        """Raise `MalformedReply` for half a character, which no store and no wire could carry on."""
        try:
            json.dumps(block, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise self.attempt.failure(MalformedReply, f"{PROVIDER} sent half a character: {error}.") from error

    def reply(
        self,
        *,
        model: str | None,
        reply_id: str | None,
        blocks: Sequence[Block],
        parts: Sequence[Part],
        kind: FinishKind,
        raw: str,
        usage: Usage,
        token: str | None,
        diagnostics: dict[str, Any],
    ) -> ModelReply:
        """Return the whole reply. A `token` to go on with is kept behind the blocks of a turn that paused."""
        settled, finish = settle(parts, kind, raw)
        model = model or self.request.route.model
        kept = [*blocks, {CONTINUATION: token}] if token and finish.unified == "paused" else blocks
        native = Native(
            provider=PROVIDER,
            api=self.api,
            model=model,
            blocks=tuple(cast(JsonValue, block) for block in kept),
            renderer=self.request.renderer,
            reply_id=reply_id,
            sent=self.going.sent(usage),
        )
        return ModelReply(
            message=Message(role="assistant", parts=settled, native=native),
            usage=usage,
            finish=finish,
            price=price(PROVIDER, model, usage),
            provider=PROVIDER,
            model=model,
            request_id=self.attempt.request_id or reply_id,
            output=parsed_output(self.request, settled, finish),
            cache=self.going.facts(usage),
            rates=self.attempt.rates,
            diagnostics={name: value for name, value in diagnostics.items() if value},
        )
