"""python -m deploy.monitoring [--runbook URL]: write the dashboards and rules that are made from the catalogue."""

import argparse

from deploy.monitoring.files import DEPLOY, RUNBOOK, files


def main() -> None:
    parser = argparse.ArgumentParser("python -m deploy.monitoring", description=__doc__)
    parser.add_argument("--runbook", default=RUNBOOK, help="where those who are paged find docs/runbook.md")
    for path, text in files(parser.parse_args().runbook).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(path.relative_to(DEPLOY.parent))


if __name__ == "__main__":
    main()
