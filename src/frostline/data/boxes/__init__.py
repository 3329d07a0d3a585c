"""Pictures with boxes around objects: annotations of COCO, PASCAL VOC and YOLO."""
