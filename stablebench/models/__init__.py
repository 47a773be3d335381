"""Models: one paper per file in `recurrent/`; the contract they keep is in `base.py`."""
