"""What a run is: a request, resolved to a run spec by card, recipe and options."""
