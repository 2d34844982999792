"""COCO's 80 categories: their ids, which have gaps, and their names."""

COCO_CATEGORIES: dict[int, str] = dict(
    item
    for start, names in (
        (1, "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light"),
        (11, "fire hydrant"),
        (13, "stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra"),
        (25, "giraffe"),
        (27, "backpack,umbrella"),
        (31, "handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat"),
        (40, "baseball glove,skateboard,surfboard,tennis racket,bottle"),
        (46, "wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli"),
        (57, "carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,bed"),
        (67, "dining table"),
        (70, "toilet"),
        (72, "tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink"),
        (82, "refrigerator"),
        (84, "book,clock,vase,scissors,teddy bear,hair drier,toothbrush"),
    )
    for item in enumerate(names.split(","), start)
)
"""Name by category id (1 to 90)."""

COCO_IDS: tuple[int, ...] = tuple(COCO_CATEGORIES)
"""Category id by class number (0 to 79), as detectors of 80 classes and YOLO labels count."""
