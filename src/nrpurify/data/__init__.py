"""Labeled and unlabeled images: readers of folders, tables, boxes and masks."""
