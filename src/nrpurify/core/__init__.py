"""Files, images, registries, specs and seeds; nothing about attacks, models or tasks."""
