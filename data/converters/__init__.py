"""From other annotation formats: `voc.read` and `coco.read` give an `Annotations`, `write.write` makes the data set."""
