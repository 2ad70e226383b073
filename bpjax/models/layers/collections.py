"""Names of the variables that modules read beside their parameters."""

MASKS = "masks"
"""Collection of masks: `KERNEL` of a layer, `HIDDEN` of a norm or a writer; see `patterns`."""

KERNEL, HIDDEN = "kernel", "hidden"

APPROXIMATIONS = "approximations"
"""Collection of what is approximated meanwhile: `SHARE` of the result that is the cheaper
operation's, and for norms `REAL`, 1 at the tokens that they average over."""

SHARE, REAL = "share", "real"

GATES = "gates"
"""Collection of factors, `INPUTS`, that a linear layer's inputs are multiplied with, each row of a
batch by its own: `[batch, in]`. Ones, of which somebody wants the gradient."""

INPUTS = "inputs"

INTERMEDIATES = "intermediates"
"""Collection that modules sow what others want to see of them into: `SCORES` of attention, and
`STREAM`, the residual stream behind a sublayer, before any norm."""

SCORES, STREAM = "scores", "stream"
