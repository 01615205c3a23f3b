"""Pipeline stages: the shared ones, and one folder a system. Each is run as `python -m stages.<module> <argument>`."""

import catalog  # noqa: F401 - before the packages that a stage imports: it says so when they are not there
