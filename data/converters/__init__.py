"""From other annotation formats: a reader a layout makes records, which become pictures with boxes, and are written.

`layouts` lists the readers; `finder` has the rule by which an annotation finds its picture.
"""
