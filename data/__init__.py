"""From files to augmented batches on the device.

`datasets` reads the data YAML, `index` finds and checks pictures and labels, `store` keeps them decoded, `plan` decides
what is random, `render` carries it out, `loader` hands over batches. `sample` draws the built-in data set and `convert`
makes one of others' formats.
"""
