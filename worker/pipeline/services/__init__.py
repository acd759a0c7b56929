"""Speech to text, language model, text to speech: chosen by name from the settings, made once per call."""

from worker.pipeline.services.choice import chosen_names, make_llm, make_stt, make_tts, warm_up
from worker.pipeline.services.current import current_settings, use_settings

__all__ = ["chosen_names", "current_settings", "make_llm", "make_stt", "make_tts", "use_settings", "warm_up"]
