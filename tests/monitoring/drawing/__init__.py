"""Screenshots of the dashboards, from the points of a run, by Grafana's own chart code. By hand: npm and Chromium."""
