"""The one path through which every system trains (torch). Imports `base`, `models` and `inside`."""
