"""Names in a sweep's folder that are written in one room and read in others."""

BOARD = "leaderboard.csv"  # a row per setting
RUNS = "runs.csv"  # a row per run, beside a leaderboard of repeated settings
REPEATED = "runs"  # the column of a leaderboard with as many runs as a setting has
PRUNED = "Pruned"  # the kind of a note of a job that was dropped
