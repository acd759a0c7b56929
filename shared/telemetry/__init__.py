"""What operators see: the catalogue of metrics, logs, health."""
