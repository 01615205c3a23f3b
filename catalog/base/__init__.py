"""The ground every room stands on: errors, parameters, whole files, progress. Imports no other room, neither torch nor duckdb."""
