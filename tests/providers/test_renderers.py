"""Every version of the written bytes can still be written on every wire, so that old runs go on."""

import pytest

from providers import anthropic_render, chat_render, gemini_interactions_render, gemini_render, openai_render, wire

TABLES = {
    "anthropic": anthropic_render.RENDERERS,
    "openai": openai_render.RENDERERS,
    "chat": chat_render.RENDERERS,
    "gemini": gemini_render.RENDERERS,
    "gemini interactions": gemini_interactions_render.RENDERERS,
}


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_each_wire_has_a_renderer_for_each_version(table: dict[int, object]):
    assert table.keys() == wire.RENDERERS
    assert max(wire.RENDERERS) == wire.RENDERER
