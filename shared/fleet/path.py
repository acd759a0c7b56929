"""How a stream came to its worker: a leg says so in a header of its own upgrade; nothing from outside gets through."""

PATH_HEADER = "x-sfvopi-path"
RELAYED = "relayed"
