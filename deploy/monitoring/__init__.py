"""What an operator looks at and is paged by, as code: dashboards, recording rules, alerts; all from the catalogue.

`python -m deploy.monitoring` writes the files that Grafana and Prometheus read. No process of the fleet imports this.
"""
