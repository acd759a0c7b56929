"""The four dashboards, one a file."""

from deploy.monitoring.dashboards.business import BUSINESS
from deploy.monitoring.dashboards.call_experience import CALL_EXPERIENCE
from deploy.monitoring.dashboards.fleet import FLEET
from deploy.monitoring.dashboards.worker_health import WORKER_HEALTH

BOARDS = (FLEET, CALL_EXPERIENCE, WORKER_HEALTH, BUSINESS)
