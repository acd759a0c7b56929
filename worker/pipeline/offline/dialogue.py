"""The scripted receptionist: what it answers to what was said so far. Pure; knows nothing of Pipecat.

Stands in for a language model where none is to be had. It looks for words in the caller's last sentence, first in
what its own last question awaits. Its sentences are ones that come through a telephone well.
"""

import re
from dataclasses import dataclass

OPENING_HOURS = "We open at nine in the morning and close at ten at night, every day except Monday."
CALL_BACK = "I will ask a colleague to call you back on this number within the hour."
ADDRESS = "You will find us at twelve Garden Street, next to the train station."
ASK_FOR_PARTY = "Of course. For how many people, and at what time?"
BOOKED = "Your table is booked. We look forward to seeing you."
FAREWELL = "Thank you for calling. Goodbye."
AGAIN = "I am sorry, I did not understand that. Could you say it again, please?"
WELCOME = "You are welcome. Is there anything else that I can do for you?"
NOTHING_YET = "You have not asked me anything yet."
HELP = "I can tell you our address and when we open, and I can book a table for you."
MENU = (
    "Our menu changes with the seasons. In the winter we serve a warm soup of pumpkin and ginger, "
    "followed by a slow roast of lamb with potatoes and green beans. In the spring there is fresh asparagus from the "
    "market, and grilled fish with lemon and herbs. In the summer we have cold tomato soup, and a garden salad with "
    "goat cheese and walnuts. In the autumn there are mushrooms from the forest, and for dessert there is always "
    "an apple cake with vanilla cream."
)

# The first that fits wins. Words are looked for as whole words; what whisper hears in their place stands beside them.
_INTENTS: tuple[tuple[str, str], ...] = (
    ("farewell", r"good ?bye|bye|bye bye|that is all|that's all|hang up|nothing else"),
    ("repeat", r"ask(ed)? (you )?(before|first|earlier|just now)|my (last|first|previous) question|did i (ask|say)"),
    ("order", r"order"),
    ("hours", r"open|opening|hours|close|closing"),
    ("address", r"where|address|located|find you|directions"),
    ("menu", r"menu|food|eat|dishes|serve"),
    ("book", r"book|reserve|reservation|table"),
    ("human", r"human|person|someone|somebody|agent|colleague|operator|transfer|speak to"),
    ("thanks", r"thank you|thanks|great|perfect"),
    ("greeting", r"hello|hi|hey|help"),
)
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DIGITS = dict(zip("0123456789", _WORDS, strict=True))
_DIGIT_WORDS = "|".join(_WORDS)
_PARTY = rf"\d+|{_DIGIT_WORDS}|ten|people|o'clock|tonight|tomorrow|evening"


@dataclass(frozen=True)
class Reply:
    """What to say, and whether the call ends with it."""

    text: str
    ends_call: bool = False


@dataclass(frozen=True)
class Said:
    """One message of the conversation so far: by the caller, or by us."""

    by_caller: bool
    text: str


def reply_to(conversation: list[Said]) -> Reply:
    """What the receptionist says next."""
    heard = [said.text for said in conversation if said.by_caller and said.text.strip()]
    spoken = [said.text for said in conversation if not said.by_caller]
    if not heard:
        return Reply(HELP)
    sentence = heard[-1].lower()
    intent = _intent(sentence)
    if intent == "farewell":
        return Reply(FAREWELL, ends_call=True)
    if spoken and ASK_FOR_PARTY in spoken[-1] and re.search(rf"\b({_PARTY})\b", sentence):
        return Reply(BOOKED)
    if intent == "repeat":
        return Reply(f"You asked: {heard[-2].strip()}" if len(heard) > 1 else NOTHING_YET)
    if intent == "order":
        return Reply(_order_read_back(sentence))
    return Reply(_ANSWERS.get(intent, AGAIN))


_ANSWERS = {
    "hours": OPENING_HOURS,
    "address": ADDRESS,
    "menu": MENU,
    "book": ASK_FOR_PARTY,
    "human": CALL_BACK,
    "thanks": WELCOME,
    "greeting": HELP,
}


def _intent(sentence: str) -> str:
    return next((name for name, words in _INTENTS if re.search(rf"\b({words})\b", sentence)), "")


def _order_read_back(sentence: str) -> str:
    spelled = re.sub(r"\d", lambda digit: f" {_DIGITS[digit.group()]} ", sentence)
    digits = re.findall(rf"\b({_DIGIT_WORDS})\b", spelled)
    if not digits:
        return "What is your order number, please?"
    return f"I heard order number {' '.join(digits)}. It will be ready this evening."
