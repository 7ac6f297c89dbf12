"""mmssl: self-supervised pretraining of CNNs and hierarchical Transformers.

Importing the package registers nothing and loads neither torch nor the mm libraries; the registries
of `mmssl.registry` import what they need when something is first built.
"""

__version__ = "0.1.0"
