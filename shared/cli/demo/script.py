"""What the caller of the demo does, and what the bot must have heard and said of it."""

from shared.carrier.plan import InterruptAfter, Press, Say, Step, WaitForBot

QUESTION = "Can you tell me what is on your menu?"
INTERRUPTION = "When do you open?"
KEY = "0"
GOODBYE = "Thank you for your help and goodbye."

# Each sentence is one breath: a pause within it would be a turn of its own. The menu is long: it is there to be
# interrupted. After the goodbye it is the bot that ends the call.
STEPS: tuple[Step, ...] = (
    WaitForBot(),
    Say(QUESTION),
    InterruptAfter(1.5),  # within its first sentence: a busy machine may pause before the second
    Say(INTERRUPTION),
    WaitForBot(),
    Press(KEY),
    WaitForBot(),
    Say(GOODBYE),
)
TEXTS = tuple(step.text for step in STEPS if isinstance(step, Say))
LONGEST_S = 90.0
