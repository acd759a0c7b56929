"""`make test-monitoring`: a real Prometheus and Alertmanager watch a real fleet under load that has a bad day."""
