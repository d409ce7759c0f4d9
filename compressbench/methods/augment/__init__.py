"""TinyBERT's data augmentation: words replaced by a masked language model and by neighbours among word vectors."""
