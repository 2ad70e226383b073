"""Names of the variables that modules read beside their parameters."""

MASKS = "masks"
"""Collection of masks: `KERNEL` of a linear layer, `HIDDEN` of a norm; see `patterns`."""

KERNEL, HIDDEN = "kernel", "hidden"

APPROXIMATIONS = "approximations"
"""Collection of what is approximated meanwhile: `SHARE` of the result that is the cheaper
operation's, and for norms `REAL`, 1 at the tokens that they average over."""

SHARE, REAL = "share", "real"

INTERMEDIATES = "intermediates"
"""Collection that modules sow what others want to see of them into: `SCORES` of attention."""

SCORES = "scores"
