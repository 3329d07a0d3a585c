"""Names of a sweep's files and settings that are written in one room and read in others."""

BOARD = "leaderboard.csv"  # a row per setting
RUNS = "runs.csv"  # a row per run, beside a leaderboard of repeated settings
REPEATED = "runs"  # the column of a leaderboard with as many runs as a setting has
REPEATS = ("seed", "data.seed", "data.fold", "data.split_seed")  # settings whose values are repetitions of a setting
PRUNED = "Pruned"  # the kind of a note of a job that was dropped
