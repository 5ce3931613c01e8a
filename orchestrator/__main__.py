"""``python -m orchestrator`` is `reskd`: on a cluster the packages are uploaded, so no console script is installed."""

from orchestrator.cli.main import main

if __name__ == "__main__":
    main()
