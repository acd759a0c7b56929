"""A conversation as data: what goes in comes out, within its bounds, and no tool is ever run twice."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.checkpoint import MAX_BYTES, OUTCOME_UNKNOWN, Checkpoint, Unreadable, decode, encode, settled, shown

texts = st.text(max_size=40)
messages = st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": texts}))
states = st.dictionaries(texts, st.integers(-1000, 1000) | texts | st.booleans())
checkpoints = st.builds(Checkpoint, texts, texts, messages, states, st.lists(texts), st.integers(0, 2**50))


@given(checkpoints)
def test_what_is_written_down_is_read_again(checkpoint: Checkpoint) -> None:
    assert decode(encode(checkpoint)) == checkpoint


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_text_is_a_checkpoint_or_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        decode(text)


@given(
    st.dictionaries(
        st.sampled_from(["schema", "bot", "messages", "state", "unheard"]), st.none() | st.just([1]) | st.just(1)
    )
)
def test_a_checkpoint_of_other_shape_is_unreadable(given_fields: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        decode(json.dumps(given_fields))


def test_a_coming_versions_checkpoint_says_so() -> None:
    later = json.loads(encode(Checkpoint("bot"))) | {"schema": 99}
    with pytest.raises(Unreadable, match="other_schema"):
        decode(json.dumps(later))


def test_instructions_of_the_calls_course_are_part_of_it_and_other_things_are_not() -> None:
    said = [
        {"role": "system", "content": "the caller is angry"},
        {"role": "developer", "content": "here is a summary"},
        {"role": "user", "content": "hi"},
    ]
    strange = [{"role": "function", "content": "x"}, "text", None]
    assert decode(encode(Checkpoint("b", messages=[*said, *strange]))).messages == said  # type: ignore[list-item]


def test_what_an_earlier_version_kept_is_read_with_the_bots_own_messages_first() -> None:
    kept = json.loads(encode(Checkpoint("b", messages=[{"role": "user", "content": "hi"}])))
    del kept["own"], kept["own_count"]
    prompt = {"role": "system", "content": "be kind"}
    assert shown(decode(json.dumps(kept)), [prompt]) == [prompt, {"role": "user", "content": "hi"}]


def test_instructions_outlive_the_oldest_turns_and_the_bots_own_keep_their_places() -> None:
    turns = [{"role": "user" if n % 2 == 0 else "assistant", "content": str(n) * 400} for n in range(400)]
    summary = {"role": "developer", "content": "a summary"}
    prompt = {"role": "system", "content": "be kind"}
    own = [(0, 0), (1, len(turns) + 1)]
    found = decode(encode(Checkpoint("b", messages=[summary, *turns], own_count=2, own=own)))
    after = {"role": "user", "content": "own, at the end"}
    again = shown(found, [prompt, after])
    assert again[:2] == [prompt, summary]
    assert again[-2:] == [turns[-1], after]
    assert 100 < len(again) < 400


def test_instructions_alone_that_are_too_large_go_in_the_end() -> None:
    large = [{"role": "system", "content": "x" * 100_000}] * 4
    assert len(decode(encode(Checkpoint("b", messages=large))).messages) < 4


def test_the_oldest_turns_of_a_long_conversation_go_first_and_no_result_loses_its_call() -> None:
    turn = [
        {"role": "user", "content": "u" * 900},
        {
            "role": "assistant",
            "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "t", "content": "r" * 900},
        {"role": "assistant", "content": "a" * 900},
    ]
    numbered = [message | {"n": number} for number in range(200) for message in turn]
    text = encode(Checkpoint("b", messages=numbered))
    assert len(text.encode()) <= MAX_BYTES
    kept = decode(text).messages
    assert len(kept) > 100
    assert kept == numbered[-len(kept) :], "the newest"
    assert kept[0]["role"] == "user"


def test_a_state_that_is_too_large_is_the_bots_fault() -> None:
    with pytest.raises(ValueError, match="state"):
        encode(Checkpoint("b", state={"x": "y" * MAX_BYTES}))


def test_a_tool_without_a_result_comes_back_with_its_outcome_unknown() -> None:
    call = {
        "role": "assistant",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "pay", "arguments": "{}"}}],
    }
    running = [call, {"role": "tool", "tool_call_id": "1", "content": "IN_PROGRESS"}]
    unknown = [call, {"role": "tool", "tool_call_id": "1", "content": OUTCOME_UNKNOWN}]
    assert settled(running) == settled([call]) == unknown
    done = [call, {"role": "tool", "tool_call_id": "1", "content": '{"paid": true}'}]
    assert settled(done) == done
