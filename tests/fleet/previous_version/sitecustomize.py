"""Found by Python at its start where FLEET_SCHEMA=1 is set: this process keeps records as schema 1 did.

It writes nothing that came with schema 2, and knows nothing of it when it reads.
"""

import os

if os.environ.get("FLEET_SCHEMA") == "1":
    from shared.registry import memory, redis, stored

    OF_CALLS = {"resumed", "afresh", "traceparent"}
    OF_WORKERS = {"offers", "drift", "eta_s"}
    _changes, _record, _worker = stored.encode_changes, stored.encode_record, stored.encode_worker

    def encode_changes(changes):
        return _changes({name: value for name, value in changes.items() if name not in OF_CALLS})

    def encode_record(record):
        return {**{k: v for k, v in _record(record).items() if k not in OF_CALLS}, "schema": "1"}

    def encode_worker(worker):
        known = stored.json.loads(_worker(worker))
        return stored.json.dumps({name: value for name, value in known.items() if name not in OF_WORKERS})

    for name in OF_CALLS:
        del stored._KINDS[name]
    for module in (stored, redis, memory):
        for made in (encode_changes, encode_record, encode_worker):
            if hasattr(module, made.__name__):
                setattr(module, made.__name__, made)
        if hasattr(module, "SCHEMA"):
            module.SCHEMA = 1
