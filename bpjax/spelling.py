"""When two names of a label are one."""


def spelled(name: str) -> str:
    """A name as "not_duplicate", "Not duplicate" and "not-duplicate" all are."""
    return "_".join(name.casefold().replace("_", " ").replace("-", " ").split())
