"""Reviews a Python environment: is it what was installed, and may we ship it?

Every function marked @asset is one step. Its parameters name the steps it needs; what it returns is stored, with a
digest and its lineage. `review` is plain library code that knows nothing of FlowStone. Change a step, run
`flowstone run`, and only what your change touches is computed again.
"""

import flowstone_demo as review
from flowstone import Approval, Daily, Pipeline, Retry, asset, latest_before

# One snapshot a day. The environment can only be seen as it is now, so filing it under a past day is refused.
day = Daily("2026-01-01", past="refuse")

# Nobody can use the bill of materials before a reviewer has seen it: not whoever ran this, nor who wrote it.
review_first = Approval("May we ship this environment?", approvers=["group:reviewers"], not_author=True)


def installed_version(config):
    """Fingerprints what is installed: as long as it stays the same, `distributions` is reused."""
    return review.distributions.fingerprint(review.environment.find(config["python"]))


def files_version(config):
    """Fingerprints the hashed files' paths, sizes and times: much quicker than hashing them."""
    return review.integrity.fingerprint(review.environment.find(config["python"]))


@asset(partitions=day, source=True, version=installed_version, config={"python": None})
def distributions(ctx, config) -> dict:
    """What is installed: names, versions, licence fields, requirements."""
    snapshot = review.distributions.read(review.environment.find(config["python"]))
    ctx.summary(review.distributions.summary(snapshot))
    return snapshot


@asset(partitions=day, source=True, version=files_version, config={"python": None}, retries=Retry(attempts=3, delay=0.5))
def integrity(ctx, config) -> dict:
    """Whether every file is still what was installed."""
    if ctx.attempt == 1:  # so that you see what a retry looks like: delete these two lines
        raise TimeoutError("reading the last chunk (the demo does this once, on purpose)")
    records = review.integrity.read_records(review.environment.find(config["python"]))
    result = review.integrity.check(records, track=lambda files: ctx.track(files, unit="files"))
    ctx.summary(review.integrity.summary(result))
    return result


@asset(partitions=day)
def licences(ctx, distributions) -> dict:
    """Which licence each distribution is under: permissive, copyleft or unknown, and the evidence for it."""
    result = review.licences.classify(distributions)
    ctx.summary(review.licences.summary(result))
    return result


@asset(partitions=day)
def requirements(ctx, distributions) -> dict:
    """Whether the distributions fit together."""
    result = review.requirements.resolve(distributions)
    ctx.summary(review.requirements.summary(result))
    return result


@asset(partitions=day, deps={"previous": distributions}, mapping={"previous": latest_before()})
def changes(ctx, distributions, previous=None) -> dict:
    """What was installed, removed or upgraded since the latest earlier day."""
    if previous is None:
        ctx.skip("no earlier snapshot to compare with")
    result = review.changes.compare(previous, distributions)
    ctx.summary(review.changes.summary(result))
    return result


@asset(partitions=day)
def findings(ctx, distributions, integrity, licences, requirements, changes=None) -> dict:
    """What a reviewer must look at, worst first."""
    result = review.findings.collect(distributions, integrity, licences, requirements, changes)
    ctx.summary(review.findings.summary(result))
    return result


@asset(partitions=day)
def report(ctx, distributions, integrity, licences, requirements, findings, changes=None) -> str:
    """A page to read and to show: findings, a plot, everything installed."""
    page = review.page.render(distributions, integrity, licences, requirements, findings, changes, day=str(ctx.partition))
    ctx.summary(review.page.summary(page))
    return page


@asset(partitions=day, approval=review_first)
def bill_of_materials(ctx, distributions, licences, requirements, findings) -> dict:
    """The environment's parts list for other tools, as CycloneDX 1.6."""
    bom = review.bom.build(distributions, licences, requirements, findings, day=str(ctx.partition))
    ctx.summary(review.bom.summary(bom))
    return bom


@asset(partitions=day)
def release_note(ctx, bill_of_materials) -> str:
    """What is released, for people; made only of what was approved."""
    note = review.release.note(bill_of_materials, day=str(ctx.partition))
    ctx.summary(review.release.summary(note))
    return note


pipeline = Pipeline(
    "environment_review",
    [distributions, integrity, licences, requirements, changes, findings, report, bill_of_materials, release_note],
)
