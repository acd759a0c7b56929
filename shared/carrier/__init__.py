"""The phone company in a box: places calls against any SFVoPI server, and reports what the caller heard.

Knows the wire (`shared.sfvopi`) and nothing of gateways and workers. Begin at `call.place_call` and `plan.CallPlan`.
"""
