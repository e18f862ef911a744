"""The scripted model of the clients' house: an agent that pays an invoice when it is allowed to, and says so."""

from engine.transcript import ModelRequest
from providers.scripted import ScriptedReply, calls, register_script

NAME = "clerk"
SAID = "the invoice is dealt with"


def register() -> None:
    """Make the model answer the route `scripted/clerk`."""
    register_script(NAME, reply)


def reply(request: ModelRequest) -> ScriptedReply:
    """Learn the skill, ask to pay, and finish."""
    turns = sum(message.role == "assistant" for message in request.messages)
    if turns == 0:
        return calls(("learn_accounts_payable", {}))
    if turns == 1:
        payment = {"invoice": "NI-7", "supplier": "Northwind Instruments", "amount": 12.5, "currency": "EUR"}
        return calls(("accounts_payable.pay", {**payment}))
    return ScriptedReply(text=SAID)
