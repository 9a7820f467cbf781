"""From nothing to a deployment on AWS and back, and why it does not work if it does not.

::

    options ─► template ─┐
    bundle ──────────────┼─► plan: steps ─► apply ─► CloudFormation stack, S3 bucket
    survey: what there is ┘                    └───► the remembered deployment
    doctor: probes ─► checks: ok, failed with its remedy, skipped

All but `session`, `stack`, `bucket`, `survey`, `apply`, `doctor` and `status` is pure. `apply`
alone writes to AWS, by way of `stack` and `bucket`; `doctor` puts a probe object and deletes it.
"""
