"""Data sets: a Reader finds samples, a Modality shows them, and one LightningDataModule, `Data`, joins the two."""
