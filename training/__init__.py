"""What train.py and lr_find.py share: options, the pieces a run is built from, its state, its folder, its report."""
