"""Models of two-dimensional images: networks trained by one loop, saved as safetensors and JSON.

`ImageClassifier` is what they share; a network is a subclass that builds an encoder. What it is made of: `pixels` and
`squares` (images → inputs, kept on disk), `loop` (training, resumed from `checkpoint`), `losses`, `augment`, `weights`
and `stages` (transfer). `Embed` is a frozen encoder as a step; `HasNetwork` is what an explanation asks of a model.
"""
