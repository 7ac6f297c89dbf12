"""What the figures show: a line is a chain of boxes from left to right, or an arrow between two boxes.

    [name]   trained by gradients        {name}   momentum copy, without gradients
    (name)   images or other data        =name=   memory: a queue, a bank, prototypes
    <name>   term of the loss            *        nothing; the arrow goes on
    a ~> b : why                         a dashed arrow between boxes that stand elsewhere

A box that several chains name is one box as high as all of them. `#` and what follows is not shown, and
tells boxes of one name apart; `/` begins a new line.
"""

from __future__ import annotations

METHODS = {
    "attention_plugins": """
        (maps) > [1x1 conv] > [3x3 conv] > [1x1 conv#2] > [plugin: non-local,/GC, DNL, ...] > (maps#2)
        (maps) > * > * > * > * > (maps#2)
    """,
    "barlow_twins": """
        (view 1) > [backbone] > [neck] > (z1, normalised/over the batch) > (cross-/correlation) > <identity>
        (view 2) > [backbone] > [neck] > (z2, normalised/over the batch) > (cross-/correlation) > <identity>
    """,
    "byol": """
        (view 1) > [backbone] > [neck] > [head/(predictor)] > <cosine>
        (view 2) > {backbone/twin} > {neck/twin} > * > <cosine>
        [backbone] ~> {backbone/twin} : momentum
        [neck] ~> {neck/twin} : momentum
    """,
    "care": """
        (view 2) > {backbone/twin} > * > {projector/twin} > * > <cosine>
        (view 1) > [backbone] > * > [projector] > [predictor] > <cosine>
        (view 1) > [backbone] > [attention/stack] > [projector#t] > [predictor#t] > <cosine#t>
        (view 2#t) > {backbone/twin#t} > {attention/stack twin} > {projector/twin#t} > * > <cosine#t>
        [predictor#t] ~> [predictor] : guides
    """,
    "clsa": """
        (strong views) > [backbone] > [neck] > (q strong) > <divergence from/what weak says>
        (weak view) > [backbone] > [neck] > (q weak) > <contrast>
        (key view) > {backbone/twin} > {neck/twin} > =queue= > <contrast>
        (q weak) ~> <divergence from/what weak says> :
    """,
    "cotnet": """
        (map) > [3x3 grouped conv:/static context] > * > * > [gate per/channel] > (map#out)
        (map) > [3x3 grouped conv:/static context] > [two 1x1 convs:/3x3 weights] > [aggregate:/dynamic context] > [gate per/channel]
        (map) > [1x1 conv:/values] > * > [aggregate:/dynamic context]
    """,
    "deepclusterv2": """
        (all views) > [backbone] > [neck] > (z) > * > <name the cluster,/each head>
        (z) ~> =memory: large views/of the epoch= : writes
        * > * > * > =memory: large views/of the epoch= > =centroids and/clusters by k-means,/before each epoch= > <name the cluster,/each head>
    """,
    "densecl": """
        (view 1) > [backbone] > [neck] > (q) > * > <contrast>
        (view 1) > [backbone] > [neck] > (Q of each cell) > <contrast of cells>
        (view 2) > {backbone/twin} > {neck/twin} > =dense queue= > <contrast of cells>
        (view 2) > {backbone/twin} > {neck/twin} > =queue= > * > <contrast>
    """,
    "dino": """
        (all views) > [backbone] > [head] > (softmax) > <cross-entropy of/unequal views>
        (large views) > {backbone/twin} > {head/twin} > (centred, sharp/softmax) > <cross-entropy of/unequal views>
        {head/twin} ~> =centre= : mean
        * > * > * > =centre=
        [backbone] ~> {backbone/twin} : momentum
    """,
    "esvit": """
        (all views) > [backbone] > [head] > (view/softmax) > * > <views>
        (all views) > [backbone] > [region head] > (regions'/softmax) > <regions, each to/the most similar>
        (large views) > {backbone/twin} > {region head/twin} > (centred, sharp/softmax) > <regions, each to/the most similar>
        (large views) > {backbone/twin} > {head/twin} > (centred, sharp/softmax#2) > * > <views>
    """,
    "exemplar": """
        (seed) > (one of its/transformations) > [backbone] > [neck] > [linear classifier:/a row per seed] > <cross-entropy,/class = seed>
    """,
    "hcsc": """
        (view 1) > [backbone] > [neck] > (q) > <selective contrast/with keys, each level>
        (view 2) > {backbone/twin} > {neck/twin} > =queue= > <selective contrast/with keys, each level>
        (all images,/each epoch) > {backbone/twin#2} > {neck/twin#2} > =tree of/prototypes= > <contrast with/prototypes>
        =tree of/prototypes= ~> <selective contrast/with keys, each level> : removes
    """,
    "infomin": """
        (view 1) > [backbone] > [neck] > (q) > <contrast>
        (view 2) > {backbone/twin} > {neck/twin} > =k and queue= > <contrast>
        (view 2) > {backbone/twin} > {neck/twin} > =k and queue= > <contrast of/the jigsaw>
        (patches of view 3) > [backbone#same] > [jigsaw head] > (j) > <contrast of/the jigsaw>
    """,
    "lrnet": """
        (offsets) > [small network] > (similarity +/geometric prior)
        (map) > [query] > (similarity +/geometric prior) > (softmax over/the window) > (sum) > [1x1 conv] > (map#out)
        (map) > [key] > (similarity +/geometric prior)
        (map) > * > * > * > (sum)
    """,
    "moby": """
        (view 1) > [backbone] > [neck] > [head/(predictor)] > <contrast>
        (view 2) > {backbone/twin} > {neck/twin} > =queue of/second views= > <contrast>
        [backbone] ~> {backbone/twin} : momentum
        [neck] ~> {neck/twin} : momentum
    """,
    "moco": """
        (view 1) > [backbone] > [neck] > (q) > <contrast>
        (view 2) > {backbone/twin} > {neck/twin} > (k) > <contrast>
        * > * > * > =queue of/earlier k= > <contrast>
        [backbone] ~> {backbone/twin} : momentum
        (k) ~> =queue of/earlier k= : enqueue
    """,
    "mocov3": """
        (view 1) > [backbone] > [neck] > [head/(predictor)] > <contrast in the/batch of all GPUs>
        (view 2) > {backbone/twin} > {neck/twin} > * > <contrast in the/batch of all GPUs>
        [backbone] ~> {backbone/twin} : momentum
        [neck] ~> {neck/twin} : momentum
    """,
    "npid": """
        (view) > [backbone] > [neck] > (f) > <find the/own row>
        * > * > * > =bank: a row/per image= > <find the/own row>
        (f) ~> =bank: a row/per image= : moves
    """,
    "pcl": """
        (view 1) > [backbone] > [neck] > (q) > <contrast>
        (view 2) > {backbone/twin} > {neck/twin} > =queue= > <contrast>
        (all images,/each epoch) > {backbone/twin#2} > {neck/twin#2} > =prototypes,/several numbers= > <contrast with/prototypes>
        (q) ~> <contrast with/prototypes> :
    """,
    "pic": """
        (view) > [backbone] > [neck] > [classifier:/a row per image] > <cross-entropy,/class = image>
    """,
    "pixcontrast": """
        (view 1, box) > [backbone] > [conv neck] > (a feature/per cell) > <contrast of near cells/against far ones>
        (view 2, box) > {backbone/twin} > {conv neck/twin} > (a feature/per cell#2) > <contrast of near cells/against far ones>
        [backbone] ~> {backbone/twin} : momentum
        [conv neck] ~> {conv neck/twin} : momentum
    """,
    "pixpro": """
        (view 1, box) > [backbone] > [conv neck] > [pixel/propagation] > <cosine of near cells>
        (view 2, box) > {backbone/twin} > {conv neck/twin} > * > <cosine of near cells>
        [backbone] ~> {backbone/twin} : momentum
        [conv neck] ~> {conv neck/twin} : momentum
    """,
    "simclr": """
        (view 1) > [backbone] > [neck] > (z1) > <contrast in the/batch of all GPUs>
        (view 2) > [backbone] > [neck] > (z2) > <contrast in the/batch of all GPUs>
    """,
    "simsiam": """
        (view 1) > [backbone] > [neck] > [head/(predictor)] > <cosine>
        (view 2) > [backbone] > [neck] > (stop/gradient) > <cosine>
    """,
    "swav": """
        (all views) > [backbone] > [neck] > [prototypes] > (scores) > <predict the codes/of other views>
        (large views) > [backbone] > [neck] > [prototypes] > (balanced codes/by Sinkhorn) > <predict the codes/of other views>
        * > * > * > =queue of/embeddings= > (balanced codes/by Sinkhorn)
    """,
}

PAGES = {
    "training_step": """
        (image file) > (decoded image) > (MultiView: crops/with boxes) > (photometric/transforms) > (ViewBatch)
        (ViewBatch#2) > (on the device,/normalised) > [algorithm.loss] > <sum of terms/named loss> > [backward,/optimizer step] > {momentum twin}
    """,
}
