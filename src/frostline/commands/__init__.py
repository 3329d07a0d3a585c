"""The commands: train, evaluate, predict, export, rank, lr_find."""
