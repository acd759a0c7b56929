"""What the gateway costs: its answers, its relayed streams, and streams that it only shows the way."""
