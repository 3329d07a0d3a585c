"""Data for training, validation and test: a kind per file, each a LightningDataModule."""
