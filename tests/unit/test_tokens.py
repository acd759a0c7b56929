"""Stream tokens under attack: changed, put together from two, replayed with a clock that is off."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.settings.fleet import CallLimits
from shared.sfvopi.formats import PCMA_8K
from shared.tokens import StreamToken, TokenFault, TokenRejected, sign_token, verify_token

KEY, NOW, MAX_CALL_MS = "a secret for tests", 1_800_000_000_000, 3_600_000
FIVE_MINUTES_MS = 300_000
VALID_MS = MAX_CALL_MS + round(CallLimits.TOKEN_GRACE_S * 1000)
GOOD = StreamToken("c-1", "w1", PCMA_8K, NOW + 60_000, NOW + VALID_MS)
OTHER = StreamToken("c-2", "w2", PCMA_8K, NOW + 60_000, NOW + VALID_MS)
TEXT, OTHER_TEXT = sign_token(GOOD, KEY), sign_token(OTHER, KEY)


def fault(text: str, keys: list[str] | None = None, now_ms: int = NOW) -> TokenFault:
    with pytest.raises(TokenRejected) as rejected:
        verify_token(text, keys or [KEY], now_ms)
    return rejected.value.fault


@given(st.integers(0, len(TEXT) - 1), st.characters(codec="ascii"))
def test_a_character_changed_never_says_anything_else(at: int, character: str) -> None:
    """A signature's last character has bits to spare; whatever they are, the token is the one that was signed."""
    changed = TEXT[:at] + character + TEXT[at + 1 :]
    try:
        assert verify_token(changed, [KEY], NOW) == GOOD
        assert changed == TEXT or at == len(TEXT) - 1
    except TokenRejected:
        assert changed != TEXT


@given(st.text())
def test_whatever_the_text_it_is_refused_and_nothing_else_is_raised(text: str) -> None:
    assert fault(text) in TokenFault


def test_one_calls_signature_under_another_call_is_forged() -> None:
    body, _, signature = TEXT.partition(".")
    other_body, _, other_signature = OTHER_TEXT.partition(".")
    assert fault(f"{other_body}.{signature}") is TokenFault.BAD_SIGNATURE
    assert fault(f"{body}.{other_signature}") is TokenFault.BAD_SIGNATURE


@pytest.mark.parametrize("changes", [{1: "c-2"}, {2: ""}, {5: NOW + 10**12}, {6: NOW + 10**12}])
def test_a_body_rewritten_is_forged(changes: dict[int, object]) -> None:
    body, _, signature = TEXT.partition(".")
    fields = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    for at, value in changes.items():
        fields[at] = value
    rewritten = base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode()).rstrip(b"=").decode()
    assert fault(f"{rewritten}.{signature}") is TokenFault.BAD_SIGNATURE


@pytest.mark.parametrize("keys", [["another"], [""], [KEY + " "], ["another", "more"]])
def test_another_key_verifies_nothing(keys: list[str]) -> None:
    assert fault(TEXT, keys) is TokenFault.BAD_SIGNATURE


def test_without_a_key_nothing_is_good() -> None:
    with pytest.raises(TokenRejected):
        verify_token(TEXT, [], NOW)


@pytest.mark.parametrize("signature", ["", "A", "=" * 22, "A" * 21, "A" * 23, "A" * 44])
def test_a_signature_of_another_length_is_none(signature: str) -> None:
    body = TEXT.partition(".")[0]
    assert fault(f"{body}.{signature}") in (TokenFault.MALFORMED, TokenFault.BAD_SIGNATURE)


@pytest.mark.parametrize("off_ms", [-FIVE_MINUTES_MS, FIVE_MINUTES_MS - 1])
def test_a_clock_five_minutes_off_that_nobody_has_set_right_yet_refuses_no_stream_of_a_call_that_may_live(
    off_ms: int,
) -> None:
    """Before the first answer of the registry a process has its own clock only: the grace of a token covers that."""
    for age_ms in (0, MAX_CALL_MS // 2, MAX_CALL_MS):
        assert verify_token(TEXT, [KEY], NOW + age_ms + off_ms) == GOOD


def test_and_ends_with_its_grace() -> None:
    assert fault(TEXT, now_ms=NOW + VALID_MS) is TokenFault.EXPIRED
