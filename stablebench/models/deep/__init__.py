"""Deep feed-forward models. A file here is a model; its stem is the model's name."""
