"""Models of two-dimensional images: networks trained by one loop, saved as safetensors and JSON.

`ImageClassifier` is what they share (pixels, training, saving); a network is a subclass that builds it. `HasNetwork`
is what an explanation asks of such a model.
"""
