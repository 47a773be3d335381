"""Options, look-ups and checks that several commands share."""
