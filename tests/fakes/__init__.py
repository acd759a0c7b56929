"""Stand-ins for what the fleet talks to, at the wire: real sockets, real protocols, made-up answers."""
