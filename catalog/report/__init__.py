"""What an evaluation writes: results, tables, intervals, pictures. Imports `base` alone, so no torch; for every evaluation."""
