"""Pictures of the dashboards, by hand: `python -m tests.monitoring.screenshots`."""
