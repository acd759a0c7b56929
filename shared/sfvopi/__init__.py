"""SFVoPI on the wire, as data: webhooks, Stream JSON, WebSocket messages, audio formats, stream rules.

Standard library only. No I/O, no clock, no logger: whoever uses it brings those. Both sides of the wire are
here, since the simulated carrier speaks the other one.
"""
