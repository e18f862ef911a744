"""What is worked out once for each object: by identity, for as long as the object lives, and never for another one."""

import gc
from collections.abc import Sequence

from engine.agent.replay import request_digest
from engine.remembered import Folded, Remembered
from engine.transcript import Message, Native, Text, ToolCall, ToolResult
from engine.values import Value


class Word(Value):
    """A value of the tests."""

    text: str


def test_a_value_is_worked_out_once_and_an_equal_one_by_itself() -> None:
    asked: list[str] = []

    def shout(word: Word) -> str:
        asked.append(word.text)
        return word.text.upper()

    remembered = Remembered(shout)
    first, second = Word(text="a"), Word(text="a")
    assert [remembered(first), remembered(first), remembered(second)] == ["A", "A", "A"]
    assert asked == ["a", "a"]


def test_what_was_found_is_forgotten_with_its_value_and_never_given_to_another_in_its_place() -> None:
    def text_of(word: Word) -> str:
        return word.text

    remembered = Remembered(text_of)
    for number in range(2_000):
        assert remembered(Word(text=str(number))) == str(number)
    gc.collect()
    assert len(vars(remembered)["_known"]) == 0


def test_the_digest_of_a_request_follows_every_part_of_it_also_when_it_was_made_before() -> None:
    result = ToolResult(call_id="c", name="look", text="rain")
    native = Native(provider="maker", api="m", model="m", blocks=({"type": "text"},))
    said = Message(role="assistant", parts=(Text(text="hm"), ToolCall(id="c", name="look")), native=native)
    answer = Message(role="tool", parts=(result,))

    def digest(*messages: Message) -> str:
        return request_digest(messages, (), closing=False, output_schema=None, renderer=1)

    before = digest(said, answer)
    others = [
        (said, answer.model_copy(update={"parts": (result.model_copy(update={"text": "snow"}),)})),
        (said.model_copy(update={"native": native.model_copy(update={"blocks": ()})}), answer),
        (said.model_copy(update={"parts": (Text(text="ah"), *said.parts[1:])}), answer),
        (said, answer.model_copy(update={"breakpoint": True})),
    ]
    assert len({before, *(digest(*other) for other in others)}) == len(others) + 1
    assert digest(*(Message.model_validate_json(one.model_dump_json()) for one in (said, answer))) == before


def spelled(seen: list[str], kept: int = 100) -> Folded[Word, str, str]:
    """Return what joins words behind a beginning, and notes each word that it takes in."""

    def add(before: str, words: Sequence[Word], about: str) -> str:
        seen.extend(word.text for word in words)
        return before + "".join(word.text for word in words)

    return Folded(lambda about: about, add, kept)


def test_a_list_that_grows_is_gone_on_with_and_any_other_one_begun_anew() -> None:
    seen: list[str] = []
    folded = spelled(seen)
    first, second, third = (Word(text=text) for text in "abc")
    assert [folded((), "1"), folded((first, second), "1"), folded((first, second, third), "1")] == ["1", "1ab", "1abc"]
    assert seen == ["a", "b", "c"]
    assert folded((first, second, third), "2") == "2abc"
    assert folded((first, Word(text="b"), third), "1") == "1abc"
    assert folded((first, third), "1") == "1ac"
    assert seen == [*"abc", *"abc", *"abc", *"ac"]


def test_the_list_that_was_looked_at_longest_ago_is_forgotten_first() -> None:
    seen: list[str] = []
    folded = spelled(seen, kept=5)
    lists = [tuple(Word(text=text) for text in texts) for texts in ("ab", "cd", "ef")]
    folded(lists[0], "")
    folded(lists[1], "")
    folded(lists[0], "")
    folded(lists[2], "")
    assert seen == [*"abcdef"]
    assert [folded(one, "") for one in lists[::2]] == ["ab", "ef"]
    assert seen == [*"abcdef"]
    assert folded(lists[1], "") == "cd"
    assert seen == [*"abcdefcd"]
