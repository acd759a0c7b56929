"""Speech without keys: whisper, piper and a script in place of a language model. Nothing here loads until asked."""
