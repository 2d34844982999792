"""Detection and segmentation: the same purifier in front of other tasks."""
